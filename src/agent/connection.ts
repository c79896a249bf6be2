/** One proxy as the agent knows it: from its `open` to the end of its control connection. */
import type { Caller } from '../aws/workers.ts';
import { environmentKey } from '../aws/workers.ts';
import { type AuditEvent, appendAudit } from '../config/audit.ts';
import type { VmSettings } from '../config/settings.ts';
import { MintError } from '../errors.ts';
import { type HostKey, parseHostKey } from '../ssh/hostkey.ts';
import type { Proof, Provisional } from '../trust/store.ts';
import type { SeenExchange } from './binding.ts';
import {
  type AgentReply,
  type Answer,
  failureReply,
  type OpenRequest,
  type QuestionText,
} from './control-protocol.ts';
import { HostKeyRefusal, type Presented } from './host-trust.ts';
import type { Services } from './services.ts';
import type { Vm } from './vm.ts';
import { type KeyPair, type Push, pushLifetime } from './vm-key.ts';

/** AWS lets a pushed key in for this long, in milliseconds: beyond it there is nothing to sign for. */
const pushLimit = 60_000;
/** A client that goes on and has not asked for a signature after this time will not, in milliseconds. */
const signatureLimit = 3000;

export class Connection {
  /** What the key exchange of this connection showed; kept until the connection ends. */
  seen: SeenExchange | undefined;
  readonly vm: Vm;
  readonly user: string;
  readonly #services: Services;
  readonly #settings: VmSettings;
  readonly #caller: Caller;
  readonly #instance: string;
  readonly #reply: (reply: AgentReply) => void;
  #push: Push | undefined;
  /** An earlier connection's push was done when this one came. */
  #foundPushed = false;
  #provisional: Provisional | undefined;
  /** What the pin of a first key rests on beside the host's signature. */
  #proof: Proof | undefined;
  #answered: (answer: Answer) => void = () => {};
  #listed = false;
  #signed = false;
  #judging = false;
  #ended = false;
  #keyTimer: NodeJS.Timeout | undefined;
  #pinTimer: NodeJS.Timeout | undefined;
  #hasProceeded = false;
  #refused = false;

  /** @throws MintError `bad-settings` */
  constructor(
    services: Services,
    vm: Vm,
    settings: VmSettings,
    request: OpenRequest,
    reply: (reply: AgentReply) => void,
  ) {
    const { host, instance } = settings;
    if (host === undefined || instance === undefined) {
      throw new MintError('bad-settings', `${vm.name} needs host and instance in ssh.toml`);
    }
    this.#services = services;
    this.vm = vm;
    this.user = request.user ?? settings.user;
    this.#settings = settings;
    this.#caller = { environment: request.environment };
    this.#instance = instance;
    this.#reply = reply;
    vm.connections.add(this);
    vm.requiresBinding = settings.requireBinding;
    reply({ type: 'target', host, port: request.port ?? settings.port });
    if (request.established) return;
    vm.key.connecting(this);
    this.#startPush().done.catch((error) => this.fail(error));
  }

  /** The held key exchange reply: what it shows is stored before the answer lets it go on. */
  async judge(hostKeyBlob: Buffer, signature: Buffer): Promise<void> {
    if (this.#judging)
      throw new MintError('not-ssh', 'a second host key in one connection', { unsafe: true });
    this.#judging = true;
    const hostKey = parseHostKey(hostKeyBlob);
    const accepted = await this.#services.hostTrust
      .judge(this.#presented(hostKey))
      .catch((error: unknown) => {
        if (error instanceof HostKeyRefusal) this.#audit(error.event, hostKey.fingerprint);
        throw error;
      });
    if (accepted.outcome === 'unknown') {
      this.#provisional = accepted.provisional;
      this.#proof = accepted.proof;
      if (this.#ended) this.#release();
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
    let push = this.#push ?? this.#startPush();
    const wasWarm = this.#foundPushed;
    await push.done;
    while (push.age() >= pushLifetime) {
      push = this.#startPush();
      await push.done;
    }
    this.#reply({ type: 'go', pushMilliseconds: wasWarm ? undefined : push.milliseconds });
    // A session may last for days and never have asked for a signature: the key is not kept for it.
    clearTimeout(this.#keyTimer);
    this.#keyTimer = setTimeout(() => this.vm.key.settled(this), pushLimit - push.age()).unref();
  }

  /** The client accepted what the server signed, and its own agent may be the one that signs. */
  proceed(): void {
    // The second time it is past any login: no signature of ours was wanted.
    if (this.#hasProceeded) this.#pinQuietly();
    this.#hasProceeded = true;
    this.#pinTimer ??= setTimeout(() => this.#pinQuietly(), signatureLimit).unref();
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
    this.#pin('stream-binding');
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
    clearTimeout(this.#pinTimer);
    this.vm.key.settled(this);
    // A login that was refused leaves nothing; one that needed no key of ours was a login.
    if (this.#hasProceeded && !this.#refused) this.#pinQuietly();
    this.#release();
  }

  /** Whoever signs instead of us, or a server that asks for no signature: the client's own check has to do. */
  #pinQuietly(): void {
    try {
      this.#pin('client');
    } catch {
      // The proxy has been told.
    }
  }

  #release(): void {
    try {
      this.#provisional?.release();
    } catch (error) {
      // Nothing may depend on how a connection ends. What stays is removed by the next agent that starts.
      this.#services.log(`${this.vm.name}: cannot remove a provisional key: ${String(error)}`);
    }
  }

  #pin(proof: Proof): void {
    if (this.#provisional === undefined || this.seen === undefined) return;
    try {
      this.#provisional.pin(this.#proof ?? proof);
      // From here on it is pinned whatever becomes of this connection.
      this.#provisional = undefined;
      this.#services.hostTrust.verifyLater(this.#presented(this.seen.hostKey));
    } catch (error) {
      this.fail(error);
      throw error;
    }
  }

  #presented(key: HostKey): Presented {
    const { region } = this.#settings;
    return {
      sighting: { vm: this.vm.name, key, instance: this.#instance, region },
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

  #startPush(): Push {
    const { profile, region } = this.#settings;
    const scope = JSON.stringify([
      environmentKey(this.#caller.environment),
      profile,
      region,
      this.#instance,
      this.user,
    ]);
    this.#push = this.vm.key.push(scope, (pair) => this.#send(pair));
    this.#foundPushed = this.#push.milliseconds !== undefined;
    return this.#push;
  }

  async #send(pair: KeyPair): Promise<string> {
    const { profile, region } = this.#settings;
    const { requestId } = await this.#services.aws.push(this.#caller, {
      profile,
      region,
      instanceId: this.#instance,
      osUser: this.user,
      publicKey: pair.line,
    });
    this.#services.log(
      `${this.vm.name}: pushed a key for ${this.user} on ${this.#instance}, request ${requestId}`,
    );
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
    });
  }

  #audit(event: AuditEvent, fingerprint: string | undefined, requestId?: string): void {
    appendAudit(this.#services.paths, {
      event,
      command: 'proxy',
      vm: this.vm.name,
      instance: this.#instance,
      user: this.user,
      requestId,
      keyFingerprint: fingerprint,
    });
  }
}

function keyFingerprint(pair: KeyPair): string {
  return parseHostKey(pair.blob).fingerprint;
}
