/** One proxy as the agent knows it: from its `open` to the end of its control connection. */
import type { Caller } from '../aws/workers.ts';
import { type AuditEvent, appendAudit } from '../config/audit.ts';
import type { VmSettings } from '../config/settings.ts';
import { MintError } from '../errors.ts';
import { isDefinite } from '../names/names.ts';
import { type HostKey, parseHostKey } from '../ssh/hostkey.ts';
import { type SigningKey, signatureFor } from '../ssh/key-signature.ts';
import type { UserauthRequest } from '../ssh/userauth.ts';
import type { Authorisation, Login } from './authorisation.ts';
import type { SeenExchange } from './binding.ts';
import { chooseAuthorisation, expectAuthorisation } from './choose-authorisation.ts';
import {
  type AgentReply,
  type Answer,
  failureReply,
  type OpenRequest,
  type SecretAnswer,
} from './control-protocol.ts';
import { leadsTo, moved, type Place } from './destination.ts';
import { FirstKey } from './first-key.ts';
import { HostKeyRefusal, type Presented } from './host-trust.ts';
import { Person } from './person.ts';
import type { Services } from './services.ts';
import type { Vm } from './vm.ts';
import { type Whereabouts, whereabouts } from './whereabouts.ts';

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
  readonly #destination: Whereabouts;
  readonly #found: ReturnType<Whereabouts['find']>;
  readonly #reply: (reply: AgentReply) => void;
  readonly #person: Person;
  readonly #login: Login;
  #authorisation: Authorisation;
  #firstKey: FirstKey | undefined;
  /** Where the connection runs to, as its proxy says. */
  #host: string | undefined;
  #listed = false;
  #signed = false;
  #settled = false;
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
    this.#person = new Person(reply);
    this.#destination = whereabouts(services, {
      caller: this.#caller,
      settings,
      isInFile,
      isEstablished: request.established,
      port: this.#port,
      ask: (question) => this.#person.ask(question),
      tell: (line) => reply({ type: 'progress', line }),
    });
    this.#login = {
      vm,
      settings,
      caller: this.#caller,
      user: this.user,
      isEstablished: request.established,
      place: () => this.#place,
      mend: (error) => this.#mend(error),
      askSecret: (question) => this.#person.askSecret(question),
    };
    this.#authorisation = expectAuthorisation(services, this.#login);
    vm.connections.add(this);
    vm.requiresBinding = settings.requireBinding;
    this.#found = this.#destination.find();
    this.#found.catch(() => {});
  }

  /**
   * Finds the VM by its name and says where it is; with that, what lets the client in begins. Where it is not sure
   * of it, the second word follows. @throws MintError as `Destination.find`
   */
  async begin(): Promise<void> {
    const { place, sure } = await this.#found;
    this.#choose();
    this.#sendTarget(place, sure || this.#established);
    if (this.#established || this.#ended) return;
    this.#beginAuthorisation();
    if (!sure) this.#goTo(this.#destination.confirm()).catch((error) => this.fail(error));
  }

  /** The proxy reaches nobody where it was sent. @throws MintError as `Destination.confirm` */
  async retarget(): Promise<void> {
    await this.#found;
    // That the instance does not run says more than that nobody answers there.
    await this.#authorisation.begun();
    await this.#goTo(this.#destination.renew());
  }

  /** The proxy wants a tunnel: its address, or why there is none. */
  async tunnel(): Promise<void> {
    try {
      await this.#found;
      this.#reply({ type: 'tunnel', tunnel: await this.#destination.tunnel(), failure: undefined });
    } catch (error) {
      this.#services.log(`${this.vm.name}: ${error instanceof Error ? error.message : String(error)}`);
      this.#reply({ type: 'tunnel', tunnel: undefined, failure: failureReply(error) });
    }
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
      if (!this.#established) this.#authorisation.follow();
    }
    if (!leadsTo(this.#place, host)) throw moved(this.vm.name, host, this.#place);
    this.#host = host;
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
    this.#person.answer(answer);
  }

  /** Likewise, with something secret. */
  tell(secret: SecretAnswer): void {
    this.#person.tell(secret);
  }

  /** Answers once the VM lets the client in, and will for long enough. */
  async release(): Promise<void> {
    const pushMilliseconds = await this.#authorisation.grant();
    this.#reply({ type: 'go', pushMilliseconds });
    setImmediate(() => this.#noteAddress());
    // A session may last for days and never have asked for a signature: the key is not kept for it.
    clearTimeout(this.#keyTimer);
    this.#keyTimer = setTimeout(() => this.#settle(), this.#authorisation.remaining).unref();
  }

  /** The client accepted what the server signed, and its own agent may be the one that signs. */
  proceed(): void {
    // Said again, the conversation is past any login: no signature of ours was wanted.
    this.#firstKey?.clientProceeded(this.#hasProceeded || this.#authorisation.isSignedElsewhere);
    this.#hasProceeded = true;
  }

  tellWhetherRefused(): void {
    this.#refused = this.#authorisation.isSignedElsewhere || (this.#listed && !this.#signed);
    this.#reply({ type: 'refused', words: this.#refused ? this.#authorisation.refusal : undefined });
  }

  /** Between its `open` and its first signature, or the time by which it would have asked for one. */
  get isLoggingIn(): boolean {
    return !this.#established && !this.#ended && !this.#settled;
  }

  /** What the VM's socket lists for it. */
  get listed(): Buffer | undefined {
    return this.#authorisation.listed;
  }

  noteListed(): void {
    if (this.seen !== undefined) this.#listed = true;
  }

  /**
   * The signature for a login, in the form of RFC 4253 §6.6; undefined where none is due to this user now. A promise
   * only where a person has to be asked first.
   * @throws MintError where the pin cannot be written; then nothing is signed
   */
  sign(
    request: UserauthRequest,
    data: Buffer,
    flags: number,
  ): Buffer | undefined | Promise<Buffer | undefined> {
    if (request.user !== this.user) return undefined;
    const key = this.#authorisation.signingKey;
    return key instanceof Promise
      ? key.then((opened) => this.#signWith(opened, request, data, flags))
      : this.#signWith(key, request, data, flags);
  }

  /** The host has proven that it owns its key: what was the first key is the VM's from now on. */
  #signWith(
    key: SigningKey | undefined,
    request: UserauthRequest,
    data: Buffer,
    flags: number,
  ): Buffer | undefined {
    if (key === undefined || this.#ended || !request.publicKey.equals(key.blob)) return undefined;
    const signature = signatureFor(key, request.algorithm, data, flags);
    if (signature === undefined) return undefined;
    const isFirst = !this.#signed;
    this.#signed = true;
    this.#firstKey?.proven();
    this.#settle();
    if (isFirst) this.#noteLogin();
    return signature;
  }

  fail(error: unknown): void {
    this.#services.log(`${this.vm.name}: ${error instanceof Error ? error.message : String(error)}`);
    this.#reply(failureReply(error));
  }

  end(): void {
    this.#ended = true;
    this.#person.leave();
    this.vm.connections.delete(this);
    clearTimeout(this.#keyTimer);
    this.#settle();
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
      ask: (question) => this.#person.ask(question),
    };
  }

  #settle(): void {
    this.#settled = true;
    this.#authorisation.settle();
  }

  get #place(): Place {
    const { place } = this.#destination;
    if (place === undefined) throw new MintError('vm-not-found', `where ${this.vm.name} is is not known`);
    return place;
  }

  #sendTarget({ ways, serial }: Place, sure: boolean): void {
    this.#reply({ type: 'target', ways, port: this.#port, sure, serial });
  }

  /** The key goes where the connection goes. */
  async #goTo(renewed: Promise<Place>): Promise<void> {
    const place = await renewed;
    this.#choose();
    this.#authorisation.follow();
    this.#sendTarget(place, true);
    this.#beginAuthorisation();
  }

  #choose(): void {
    this.#authorisation = chooseAuthorisation(this.#services, this.#login, this.#authorisation);
  }

  #beginAuthorisation(): void {
    this.#authorisation.begin().catch((error) => this.fail(error));
  }

  /**
   * AWS knows no such instance, or it does not run: the name may stand for another one by now, or the VM can be
   * started. @returns false where there is nothing to be done about it @throws MintError where that is known better
   */
  async #mend(error: unknown): Promise<boolean> {
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

  /** After the signature has gone out: the client waits for that, and for nothing of this. */
  #noteLogin(): void {
    const { fingerprint, requestId } = this.#authorisation;
    setImmediate(() => {
      this.#audit('login', fingerprint, requestId);
      this.#authorisation.noteLogin();
      try {
        this.#services.trust.noteLogin(this.vm.name);
      } catch (error) {
        this.#services.log(`${this.vm.name}: cannot note the login: ${String(error)}`);
      }
      // Who names every instance in ssh.toml is asked nothing of AWS that ssh.toml says.
      if (this.#destination.isOwnByTag) this.#services.blocks.afterLogin(this.#caller);
    });
  }

  /** For the next connection to dial at once. What is behind another address, or a tunnel, is no place to start with. */
  #noteAddress(): void {
    // A client may be let in that has not waited to hear where to.
    const [first] = this.#destination.place?.ways ?? [];
    if (first === undefined || first.kind === 'endpoint' || first.host !== this.#host) return;
    this.#services.lastAddresses.note(this.vm.name, { host: first.host, port: this.#port });
  }

  #audit(event: AuditEvent, fingerprint: string | undefined, requestId?: string): void {
    appendAudit(this.#services.paths, {
      event,
      command: 'proxy',
      vm: this.vm.name,
      callerArn: this.#services.aws.knownIdentity(this.#caller, this.#settings)?.arn,
      instance: this.#destination.place?.instance,
      user: this.user,
      requestId,
      keyFingerprint: fingerprint,
    });
  }
}
