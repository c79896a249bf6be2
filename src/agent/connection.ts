/** One proxy as the agent knows it: from its `open` to the end of its control connection. */
import type { Caller } from '../aws/workers.ts';
import { environmentKey } from '../aws/workers.ts';
import { type AuditEvent, appendAudit } from '../config/audit.ts';
import type { VmSettings } from '../config/settings.ts';
import { MintError } from '../errors.ts';
import { isDefinite } from '../names/names.ts';
import { type HostKey, parseHostKey } from '../ssh/hostkey.ts';
import type { SeenExchange } from './binding.ts';
import {
  type AgentReply,
  type Answer,
  failureReply,
  type OpenRequest,
  type QuestionText,
} from './control-protocol.ts';
import { Destination, moved, type Place } from './destination.ts';
import { FirstKey } from './first-key.ts';
import { HostKeyRefusal, type Presented } from './host-trust.ts';
import type { Services } from './services.ts';
import type { Vm } from './vm.ts';
import { type KeyPair, type Push, pushLifetime } from './vm-key.ts';

/** AWS lets a pushed key in for this long, in milliseconds: beyond it there is nothing to sign for. */
const pushLimit = 60_000;

export class Connection {
  /** What the key exchange of this connection showed; kept until the connection ends. */
  seen: SeenExchange | undefined;
  readonly vm: Vm;
  readonly user: string;
  readonly #services: Services;
  readonly #settings: VmSettings;
  readonly #caller: Caller;
  readonly #port: number;
  readonly #established: boolean;
  readonly #destination: Destination;
  readonly #found: ReturnType<Destination['find']>;
  readonly #reply: (reply: AgentReply) => void;
  #push: Push | undefined;
  /** The instance that the push is for. */
  #pushedTo: string | undefined;
  #authorising: Promise<Push> | undefined;
  /** An earlier connection's push was done when this one came. */
  #foundPushed = false;
  #firstKey: FirstKey | undefined;
  #answered: (answer: Answer) => void = () => {};
  #listed = false;
  #signed = false;
  #judging = false;
  #ended = false;
  #keyTimer: NodeJS.Timeout | undefined;
  #hasProceeded = false;
  #refused = false;

  /** @param isInFile whether ssh.toml has the VM */
  constructor(
    services: Services,
    vm: Vm,
    { settings, isInFile }: { readonly settings: VmSettings; readonly isInFile: boolean },
    request: OpenRequest,
    reply: (reply: AgentReply) => void,
  ) {
    this.#services = services;
    this.vm = vm;
    this.user = request.user ?? settings.user;
    this.#settings = settings;
    this.#caller = { environment: request.environment };
    this.#port = request.port ?? settings.port;
    this.#established = request.established;
    this.#reply = reply;
    this.#destination = new Destination(services, {
      caller: this.#caller,
      settings,
      isInFile,
      isEstablished: request.established,
      port: this.#port,
      ask: (question) => this.#ask(question),
      tell: (line) => reply({ type: 'progress', line }),
    });
    vm.connections.add(this);
    vm.requiresBinding = settings.requireBinding;
    if (!request.established) vm.key.connecting(this);
    this.#found = this.#destination.find();
    this.#found.catch(() => {});
  }

  /**
   * Finds the VM by its name and says where it is; the push begins with that. Where it is not sure of it, the
   * second word follows. @throws MintError as `Destination.find`
   */
  async begin(): Promise<void> {
    const { place, sure } = await this.#found;
    this.#sendTarget(place, sure || this.#established);
    if (this.#established || this.#ended) return;
    this.#authorise().catch((error) => this.fail(error));
    if (!sure) this.#goTo(this.#destination.confirm()).catch((error) => this.fail(error));
  }

  /** The proxy reaches nobody where it was sent. @throws MintError as `Destination.confirm` */
  async retarget(): Promise<void> {
    await this.#found;
    // That the instance does not run says more than that nobody answers there.
    await this.#push?.done.catch(() => {});
    await this.#goTo(this.#destination.renew());
  }

  /** The held key exchange reply: what it shows is stored before the answer lets it go on. */
  async judge(hostKeyBlob: Buffer, signature: Buffer, host: string): Promise<void> {
    if (this.#judging)
      throw new MintError('not-ssh', 'a second host key in one connection', { unsafe: true });
    this.#judging = true;
    const hostKey = parseHostKey(hostKeyBlob);
    await this.#found;
    // Another key than the pinned one: is this the machine that it was a minute ago?
    if (this.#services.trust.pinned(this.vm.name)?.fingerprint !== hostKey.fingerprint) {
      await this.#destination.recheck();
      if (!this.#established && this.#pushedTo !== this.#place.instance) this.#startPush();
    }
    if (this.#place.host !== host) throw moved(this.vm.name, host, this.#place.host);
    const accepted = await this.#services.hostTrust
      .judge(this.#presented(hostKey))
      .catch((error: unknown) => {
        if (error instanceof HostKeyRefusal) this.#audit(error.event, hostKey.fingerprint);
        throw error;
      });
    if (accepted.outcome === 'unknown') {
      this.#firstKey = new FirstKey(accepted.provisional, accepted.proof, {
        pinned: () => this.#services.hostTrust.verifyLater(this.#presented(hostKey)),
        failed: (error) => this.fail(error),
      });
      if (this.#ended) this.#endFirstKey();
    }
    this.seen = { hostKey, signature };
    const notice = accepted.outcome === 'match' ? accepted.notice : undefined;
    this.#reply({ type: 'verdict', outcome: accepted.outcome, notice });
  }

  /** The person answered this connection's question. */
  answer(answer: Answer): void {
    this.#answered(answer);
  }

  /** Answers once the push has succeeded and is fresh; pushes the same key again where it is not. */
  async release(): Promise<void> {
    const push = await this.#authorise();
    this.#reply({ type: 'go', pushMilliseconds: this.#foundPushed ? undefined : push.milliseconds });
    // A session may last for days and never have asked for a signature: the key is not kept for it.
    clearTimeout(this.#keyTimer);
    this.#keyTimer = setTimeout(() => this.vm.key.settled(this), pushLimit - push.age()).unref();
  }

  /** The client accepted what the server signed, and its own agent may be the one that signs. */
  proceed(): void {
    // Said again, the conversation is past any login: no signature of ours was wanted.
    this.#firstKey?.clientProceeded(this.#hasProceeded);
    this.#hasProceeded = true;
  }

  tellWhetherRefused(): void {
    this.#refused = this.#listed && !this.#signed;
    this.#reply({ type: 'refused', listed: this.#listed, signed: this.#signed, user: this.user });
  }

  noteListed(): void {
    if (this.seen !== undefined) this.#listed = true;
  }

  /** Whether this connection's push covers a login as `user`. */
  mayLogIn(user: string): boolean {
    return user === this.user && this.#push !== undefined && this.#push.age() < pushLimit;
  }

  /**
   * The host has proven that it owns its key: what was the first key is the VM's from now on.
   * @throws MintError where the pin cannot be written; then nothing is signed
   */
  noteSigned(): void {
    const isFirst = !this.#signed;
    this.#signed = true;
    this.#firstKey?.proven();
    this.vm.key.settled(this);
    if (isFirst) this.#noteLogin();
  }

  fail(error: unknown): void {
    this.#services.log(`${this.vm.name}: ${error instanceof Error ? error.message : String(error)}`);
    this.#reply(failureReply(error));
  }

  end(): void {
    this.#ended = true;
    this.#answered('nobody');
    this.vm.connections.delete(this);
    clearTimeout(this.#keyTimer);
    this.vm.key.settled(this);
    this.#endFirstKey();
  }

  /** Nothing may depend on how a connection ends: what stays is removed by the next agent that starts. */
  #endFirstKey(): void {
    try {
      this.#firstKey?.end(this.#refused);
    } catch (error) {
      this.#services.log(`${this.vm.name}: cannot remove a provisional key: ${String(error)}`);
    }
  }

  #presented(key: HostKey): Presented {
    const { instance, account, region } = this.#place;
    return {
      sighting: { vm: this.vm.name, key, instance, account, region },
      settings: this.#settings,
      caller: this.#caller,
      ask: (question) => this.#ask(question),
    };
  }

  /** A connection that has ended reaches nobody. */
  #ask(question: QuestionText): Promise<Answer> {
    if (this.#ended) return Promise.resolve('nobody');
    return new Promise((resolve) => {
      this.#answered = resolve;
      this.#reply({ type: 'question', question });
    });
  }

  get #place(): Place {
    const { place } = this.#destination;
    if (place === undefined) throw new MintError('vm-not-found', `where ${this.vm.name} is is not known`);
    return place;
  }

  #sendTarget({ host, serial }: Place, sure: boolean): void {
    this.#reply({ type: 'target', host, port: this.#port, sure, serial });
  }

  /** The key goes where the connection goes. */
  async #goTo(renewed: Promise<Place>): Promise<void> {
    const before = this.#pushedTo;
    const place = await renewed;
    if (before !== undefined && before !== place.instance) this.#startPush();
    this.#sendTarget(place, true);
    this.#authorise().catch((error) => this.fail(error));
  }

  /** Resolves once a push has succeeded and is fresh. */
  #authorise(): Promise<Push> {
    this.#authorising ??= this.#pushUntilFresh().finally(() => {
      this.#authorising = undefined;
    });
    return this.#authorising;
  }

  async #pushUntilFresh(): Promise<Push> {
    for (let isRepaired = false; ; ) {
      const push = this.#push ?? this.#startPush();
      try {
        await push.done;
      } catch (error) {
        if (push !== this.#push) continue;
        if (isRepaired || !(await this.#repair(error))) throw error;
        isRepaired = true;
        this.#startPush();
        continue;
      }
      if (push !== this.#push) continue;
      if (push.age() < pushLifetime) return push;
      this.#startPush();
    }
  }

  /**
   * AWS knows no such instance, or it does not run: the name may stand for another one by now, or the VM can be
   * started. @returns false where there is nothing to be done about it @throws MintError where that is known better
   */
  async #repair(error: unknown): Promise<boolean> {
    if (!(error instanceof MintError) || !['vm-not-found', 'vm-not-running'].includes(error.code))
      return false;
    try {
      this.#sendTarget(await this.#destination.revive(), true);
      return true;
    } catch (renewed) {
      const isNews = renewed instanceof MintError && renewed.code === 'vm-not-running';
      if (isNews || (isDefinite(renewed) && this.#settings.instance === undefined)) throw renewed;
      return false;
    }
  }

  #startPush(): Push {
    const { profile, region } = this.#settings;
    const { instance } = this.#place;
    const scope = JSON.stringify([
      environmentKey(this.#caller.environment),
      profile,
      region,
      instance,
      this.user,
    ]);
    this.#pushedTo = instance;
    this.#push = this.vm.key.push(scope, (pair) => this.#send(pair, instance));
    this.#foundPushed = this.#push.milliseconds !== undefined;
    return this.#push;
  }

  async #send(pair: KeyPair, instance: string): Promise<string> {
    const { profile, region } = this.#settings;
    const { requestId } = await this.#services.aws.push(this.#caller, {
      profile,
      region,
      instanceId: instance,
      osUser: this.user,
      publicKey: pair.line,
    });
    this.#services.log(`${this.vm.name}: pushed a key for ${this.user} on ${instance}, request ${requestId}`);
    this.#audit('push', keyFingerprint(pair), requestId);
    return requestId;
  }

  /** After the signature has gone out: the client waits for that, and for nothing of this. */
  #noteLogin(): void {
    const pair = this.vm.key.current;
    setImmediate(() => {
      this.#audit('login', pair && keyFingerprint(pair), this.#push?.requestId);
      try {
        this.#services.trust.noteLogin(this.vm.name);
      } catch (error) {
        this.#services.log(`${this.vm.name}: cannot note the login: ${String(error)}`);
      }
      // Who names every instance in ssh.toml is asked nothing of AWS that ssh.toml says.
      if (this.#destination.isOwnByTag) this.#services.blocks.afterLogin(this.#caller);
    });
  }

  #audit(event: AuditEvent, fingerprint: string | undefined, requestId?: string): void {
    appendAudit(this.#services.paths, {
      event,
      command: 'proxy',
      vm: this.vm.name,
      instance: this.#destination.place?.instance,
      user: this.user,
      requestId,
      keyFingerprint: fingerprint,
    });
  }
}

function keyFingerprint(pair: KeyPair): string {
  return parseHostKey(pair.blob).fingerprint;
}
