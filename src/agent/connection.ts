/** The connection of one proxy, from its `open` to the end of its control connection: target, credential, host key. */

import { MintError } from '../errors.ts';
import type { Caller } from '../platform/caller.ts';
import type { VmSettings } from '../settings/settings.ts';
import { isDirect } from '../vms/candidates.ts';
import { isDefinite } from '../vms/names.ts';
import { recordAddress, recordEvent } from './audit-events.ts';
import { type AgentReply, failureReply, type OpenRequest } from './control/protocol.ts';
import { ConnectionCredential } from './credentials/choose.ts';
import type { CredentialContext, Login } from './credentials/credential.ts';
import { ConnectionHost, type HostKeyChecks } from './host-key-check.ts';
import { ConnectionPrompt } from './prompt.ts';
import {
  hasCandidate,
  movedError,
  type ResolvedTarget,
  type Target,
  type TargetContext,
  targetOf,
} from './target.ts';
import type { Vm } from './vm-socket.ts';

export interface ConnectionContext extends CredentialContext, TargetContext {
  readonly hostKeyChecks: HostKeyChecks;
}

export class Connection {
  readonly vm: Vm;
  /** Asks the user of the proxy. */
  readonly prompt: ConnectionPrompt;
  readonly host: ConnectionHost;
  readonly credential: ConnectionCredential;
  readonly upstreamAgent: string | undefined;
  clientBinds: boolean | undefined;
  readonly #context: ConnectionContext;
  readonly #login: Login;
  readonly #port: number;
  readonly #target: Target;
  readonly #found: ReturnType<Target['find']>;
  readonly #reply: (reply: AgentReply) => void;
  #isRefused = false;
  #hasEnded = false;

  /** @param isInFile whether ssh.toml has the VM */
  constructor(
    context: ConnectionContext,
    vm: Vm,
    { settings, isInFile }: { readonly settings: VmSettings; readonly isInFile: boolean },
    request: OpenRequest,
    caller: Caller,
    reply: (reply: AgentReply) => void,
  ) {
    const { user = settings.user, port = settings.port, established: isEstablished } = request;
    this.vm = vm;
    this.upstreamAgent = request.upstreamAgent;
    this.#context = context;
    this.#port = port;
    this.#reply = reply;
    this.prompt = new ConnectionPrompt(reply);
    const { ask, askSecret } = this.prompt;
    const tell = (line: string) => reply({ type: 'progress', line });
    this.#target = targetOf(context, {
      caller,
      settings,
      isInFile,
      byName: request.byName === true,
      isEstablished,
      port,
      ask,
      tell,
    });
    this.#login = {
      vm,
      settings,
      caller,
      user,
      isEstablished,
      target: this.#target,
      resolved: () => this.#resolved,
      recover: (error) => this.#recover(error),
      askSecret,
      tell,
      explain: (words) => reply({ type: 'refusal', words }),
    };
    this.host = new ConnectionHost(context, context.hostKeyChecks, {
      vm: vm.name,
      settings,
      caller,
      found: () => this.#found,
      recheck: () => this.#recheck(),
      targetAt: (address) => {
        const target = this.#resolved;
        if (!hasCandidate(target, address)) throw movedError(vm.name, address, target);
        const candidate = target.candidates.find(({ host }) => host === address);
        const direct = candidate !== undefined && isDirect(candidate) ? { host: address, port } : undefined;
        return { ...target, isMintVm: this.#target.isOwnByTag, direct };
      },
      ask,
      refused: (event, fingerprint) => recordEvent(context, this.#login, event, fingerprint),
      failed: (error) => this.fail(error),
    });
    this.credential = new ConnectionCredential(context, this.#login, this.host);
    vm.connections.add(this);
    vm.requiresBinding = settings.requireBinding;
    this.#found = this.#target.find();
    this.#found.catch(() => {});
  }

  /**
   * Finds the VM and sends its target, then starts the work of the credential. A target that is not sure is confirmed
   * and sent again.
   * @throws MintError as `Target.find`
   */
  async begin(): Promise<void> {
    const { isEstablished } = this.#login;
    const { resolved, sure } = await this.#found;
    this.credential.choose();
    this.#sendTarget(resolved, sure || isEstablished);
    if (isEstablished || this.#hasEnded) return;
    this.#beginCredential();
    if (!sure) this.#changeTarget(this.#target.confirm()).catch((error) => this.fail(error));
  }

  /**
   * The proxy could reach no candidate.
   * @throws MintError as `Target.refresh`
   */
  async retarget(): Promise<void> {
    await this.#found;
    // If the push shows that the instance does not run, that is the better error.
    await this.credential.current.begun();
    await this.#changeTarget(this.#target.refresh());
  }

  /** Replies with the URL of a tunnel, or with the reason why there is none. */
  async tunnel(): Promise<void> {
    try {
      await this.#found;
      this.#reply({ type: 'tunnel', tunnel: await this.#target.tunnel(), failure: undefined });
    } catch (error) {
      this.#log(error);
      this.#reply({ type: 'tunnel', tunnel: undefined, failure: failureReply(error) });
    }
  }

  /** Replies once the VM accepts the key and will do so for long enough. */
  async awaitPush(): Promise<void> {
    this.#reply({ type: 'pushed', pushMilliseconds: await this.credential.authorize() });
    setImmediate(() =>
      recordAddress(this.#context, this.#login, { host: this.host.address, port: this.#port }),
    );
  }

  /** The client has accepted the host's signature. */
  clientAcceptedHost(): void {
    this.host.clientProceeded(this.credential.current.isSignedElsewhere);
  }

  /** Replies whether the VM refused the key, in words for the user. */
  explainRefusal(): void {
    const { refusal, explanation } = this.credential;
    this.credential.recordRefusal();
    this.#isRefused = refusal !== undefined;
    this.#reply({ type: 'refusal', words: refusal ?? explanation });
  }

  fail(error: unknown): void {
    this.#log(error);
    this.#reply(failureReply(error));
  }

  end(): void {
    this.#hasEnded = true;
    this.prompt.close();
    this.vm.connections.delete(this);
    this.credential.end();
    this.host.end(this.#isRefused);
  }

  /** Whether its client may still ask this agent for a signature. */
  get isLoggingIn(): boolean {
    return this.credential.isLoggingIn && !this.credential.current.isSignedElsewhere;
  }

  get #resolved(): ResolvedTarget {
    const { resolved } = this.#target;
    if (resolved === undefined) throw new MintError('vm-not-found', `VM ${this.vm.name} is not resolved yet`);
    return resolved;
  }

  #sendTarget({ candidates, serial }: ResolvedTarget, sure: boolean): void {
    this.#reply({ type: 'target', candidates, port: this.#port, sure, serial });
  }

  /** Sends the new target, and has the credential follow it. */
  async #changeTarget(refreshed: Promise<ResolvedTarget>): Promise<void> {
    const resolved = await refreshed;
    this.credential.choose();
    this.credential.current.retarget();
    this.#sendTarget(resolved, true);
    this.#beginCredential();
  }

  /** Asks EC2 again because of an unexpected host key; the instance may have changed. */
  async #recheck(): Promise<void> {
    await this.#target.recheck();
    if (!this.#login.isEstablished) this.credential.current.retarget();
  }

  #beginCredential(): void {
    this.credential.current.begin().catch((error) => this.fail(error));
  }

  /**
   * AWS does not know the instance, or it does not run: the name may belong to another instance by now, or the VM can be
   * started.
   * @returns false if another attempt is pointless
   * @throws MintError `vm-not-running`, `vm-not-found` or `vm-ambiguous` if that says more than AWS's refusal
   */
  async #recover(error: unknown): Promise<boolean> {
    if (!(error instanceof MintError) || !['vm-not-found', 'vm-not-running'].includes(error.code))
      return false;
    try {
      this.#sendTarget(await this.#target.startIfStopped(), true);
      return true;
    } catch (later) {
      const isStopped = later instanceof MintError && later.code === 'vm-not-running';
      if (isStopped || (isDefinite(later) && this.#login.settings.instance === undefined)) throw later;
      return false;
    }
  }

  #log(error: unknown): void {
    this.#context.log(`${this.vm.name}: ${error instanceof Error ? error.message : String(error)}`);
  }
}
