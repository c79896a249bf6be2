/** One proxy as the agent knows it: from its `open` to the end of its control connection. */
import type { Caller } from '../aws/workers.ts';
import { environmentKey } from '../aws/workers.ts';
import type { VmSettings } from '../config/settings.ts';
import { MintError } from '../errors.ts';
import { parseHostKey } from '../ssh/hostkey.ts';
import type { Proof, Provisional } from '../trust/store.ts';
import { changedKeyWarning } from '../trust/warning.ts';
import type { SeenExchange } from './binding.ts';
import { type AgentReply, failureReply, type OpenRequest } from './control-protocol.ts';
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
  readonly #instance: string;
  readonly #reply: (reply: AgentReply) => void;
  #push: Push | undefined;
  /** An earlier connection's push was done when this one came. */
  #foundPushed = false;
  #provisional: Provisional | undefined;
  #listed = false;
  #signed = false;
  #ended = false;

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
    reply({ type: 'target', host, port: request.port ?? settings.port });
    if (request.established) return;
    vm.key.connecting(this);
    this.#startPush().done.catch((error) => this.fail(error));
  }

  /** The held key exchange reply: what it shows is stored before the answer lets it go on. */
  async judge(hostKeyBlob: Buffer, signature: Buffer): Promise<void> {
    if (this.seen !== undefined)
      throw new MintError('not-ssh', 'a second host key in one connection', { unsafe: true });
    const hostKey = parseHostKey(hostKeyBlob);
    const judgement = await this.#services.trust.judge({
      vm: this.vm.name,
      key: hostKey,
      instance: this.#instance,
      region: this.#settings.region,
    });
    if (judgement.kind === 'changed') {
      this.#services.log(`${this.vm.name}: blocked the changed host key ${hostKey.fingerprint}`);
      const error = new MintError('host-key-changed', `the host key of ${this.vm.name} has changed`, {
        hint: `if you expected that: mint-ssh hosts accept ${this.vm.name} ${hostKey.fingerprint}`,
      });
      this.#reply(failureReply(error, changedKeyWarning(this.vm.name, judgement)));
      return;
    }
    if (judgement.kind === 'unknown') {
      this.#provisional = judgement.provisional;
      if (this.#ended) this.#provisional.release();
    }
    this.seen = { hostKey, signature };
    this.#reply({ type: 'verdict', outcome: judgement.kind });
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
  }

  /** The client accepted what the server signed, and its own agent may be the one that signs. */
  proceed(): void {
    this.#pin('client');
  }

  tellWhetherRefused(): void {
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
    this.#signed = true;
    this.#pin('stream-binding');
    this.vm.key.settled(this);
  }

  fail(error: unknown): void {
    this.#services.log(`${this.vm.name}: ${error instanceof Error ? error.message : String(error)}`);
    this.#reply(failureReply(error));
  }

  end(): void {
    this.#ended = true;
    this.vm.connections.delete(this);
    this.vm.key.settled(this);
    this.#provisional?.release();
  }

  #pin(proof: Proof): void {
    try {
      this.#provisional?.pin(proof);
    } catch (error) {
      this.fail(error);
      throw error;
    }
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

  async #send(pair: KeyPair): Promise<void> {
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
  }
}
