/** One proxy as the agent knows it: from its `open` to the end of its control connection. */

import { MintError } from '../errors.ts';
import type { Caller } from '../platform/caller.ts';
import type { VmSettings } from '../settings/settings.ts';
import { parseHostKey } from '../ssh/hostkey.ts';
import { isDirect } from '../vms/candidates.ts';
import { isDefinite } from '../vms/names.ts';
import { type AgentReply, failureReply, type OpenRequest } from './control/protocol.ts';
import { ConnectionCredential } from './credentials/choose.ts';
import type { Login } from './credentials/credential.ts';
import { leadsTo, moved, type Place } from './destination.ts';
import { ConnectionHost, HostKeyRefusal } from './host-key-check.ts';
import { audit, noteAddress } from './login-notes.ts';
import { Person } from './person.ts';
import type { AskPerson } from './questions.ts';
import type { Services } from './services.ts';
import type { Vm } from './vm.ts';
import { type Whereabouts, whereabouts } from './whereabouts.ts';

export class Connection {
  readonly vm: Vm;
  /** Whoever sits in front of the proxy. */
  readonly person: Person;
  readonly host: ConnectionHost;
  readonly credential: ConnectionCredential;
  readonly upstreamAgent: string | undefined;
  clientBinds: boolean | undefined;
  readonly #services: Services;
  readonly #login: Login;
  readonly #port: number;
  readonly #destination: Whereabouts;
  readonly #found: ReturnType<Whereabouts['find']>;
  readonly #reply: (reply: AgentReply) => void;
  #isRefused = false;
  #hasEnded = false;

  /** @param isInFile whether ssh.toml has the VM */
  constructor(
    services: Services,
    vm: Vm,
    { settings, isInFile }: { readonly settings: VmSettings; readonly isInFile: boolean },
    request: OpenRequest,
    caller: Caller,
    reply: (reply: AgentReply) => void,
  ) {
    const { user = settings.user, port = settings.port, established: isEstablished } = request;
    this.vm = vm;
    this.upstreamAgent = request.upstreamAgent;
    this.#services = services;
    this.#port = port;
    this.#reply = reply;
    this.person = new Person(reply);
    const ask: AskPerson = (question) => this.person.ask(question);
    const tell = (line: string) => reply({ type: 'progress', line });
    this.#destination = whereabouts(services, {
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
      destination: this.#destination,
      place: () => this.#place,
      recover: (error) => this.#recover(error),
      askSecret: (question) => this.person.askSecret(question),
      tell,
    };
    this.host = new ConnectionHost(services, services.hostKeyChecks, {
      vm: vm.name,
      settings,
      caller,
      found: () => this.#found,
      recheck: () => this.#recheck(),
      placeOf: (address) => {
        if (!leadsTo(this.#place, address)) throw moved(vm.name, address, this.#place);
        const candidate = this.#place.candidates.find(({ host }) => host === address);
        const direct = candidate !== undefined && isDirect(candidate) ? { host: address, port } : undefined;
        return { ...this.#place, isMintVm: this.#destination.isOwnByTag, direct };
      },
      ask,
      failed: (error) => this.fail(error),
    });
    this.credential = new ConnectionCredential(services, this.#login, this.host);
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
    const { isEstablished } = this.#login;
    const { place, sure } = await this.#found;
    this.credential.choose();
    this.#sendTarget(place, sure || isEstablished);
    if (isEstablished || this.#hasEnded) return;
    this.#beginCredential();
    if (!sure) this.#goTo(this.#destination.confirm()).catch((error) => this.fail(error));
  }

  /** The proxy reaches nobody where it was sent. @throws MintError as `Destination.confirm` */
  async retarget(): Promise<void> {
    await this.#found;
    // That the instance does not run says more than that nobody answers there.
    await this.credential.current.begun();
    await this.#goTo(this.#destination.renew());
  }

  /** The proxy wants a tunnel: its address, or why there is none. */
  async tunnel(): Promise<void> {
    try {
      await this.#found;
      this.#reply({ type: 'tunnel', tunnel: await this.#destination.tunnel(), failure: undefined });
    } catch (error) {
      this.#log(error);
      this.#reply({ type: 'tunnel', tunnel: undefined, failure: failureReply(error) });
    }
  }

  /** @throws MintError as `ConnectionHost.check` */
  async checkHostKey(hostKeyBlob: Buffer, signature: Buffer, address: string): Promise<void> {
    try {
      const outcome = await this.host.check(hostKeyBlob, signature, address);
      this.#reply({ type: 'host-key-checked', outcome });
    } catch (error) {
      if (error instanceof HostKeyRefusal) {
        audit(this.#services, this.#login, error.event, parseHostKey(hostKeyBlob).fingerprint);
      }
      throw error;
    }
  }

  /** Answers once the VM lets the client in, and will for long enough. */
  async release(): Promise<void> {
    this.#reply({ type: 'pushed', pushMilliseconds: await this.credential.authorize() });
    setImmediate(() =>
      noteAddress(this.#services, this.#login, { host: this.host.address, port: this.#port }),
    );
  }

  /** The client accepted what the server signed, and its own agent may be the one that signs. */
  proceed(): void {
    this.host.clientProceeded(this.credential.current.isSignedElsewhere);
  }

  tellWhetherRefused(): void {
    const { refusal, explanation } = this.credential;
    this.#isRefused = refusal !== undefined;
    this.#reply({ type: 'refusal', words: refusal ?? explanation });
  }

  fail(error: unknown): void {
    this.#log(error);
    this.#reply(failureReply(error));
  }

  end(): void {
    this.#hasEnded = true;
    this.person.leave();
    this.vm.connections.delete(this);
    this.credential.end();
    this.host.end(this.#isRefused);
  }

  /** Whether its client may still ask this agent for a signature. */
  get isLoggingIn(): boolean {
    return this.credential.isLoggingIn && !this.credential.current.isSignedElsewhere;
  }

  get #place(): Place {
    const { place } = this.#destination;
    if (place === undefined) throw new MintError('vm-not-found', `where ${this.vm.name} is is not known`);
    return place;
  }

  #sendTarget({ candidates, serial }: Place, sure: boolean): void {
    this.#reply({ type: 'target', candidates, port: this.#port, sure, serial });
  }

  /** The key goes where the connection goes. */
  async #goTo(renewed: Promise<Place>): Promise<void> {
    const place = await renewed;
    this.credential.choose();
    this.credential.current.retarget();
    this.#sendTarget(place, true);
    this.#beginCredential();
  }

  /** Likewise, where the machine that was met may be another one. */
  async #recheck(): Promise<void> {
    await this.#destination.recheck();
    if (!this.#login.isEstablished) this.credential.current.retarget();
  }

  #beginCredential(): void {
    this.credential.current.begin().catch((error) => this.fail(error));
  }

  /**
   * AWS knows no such instance, or it does not run: the name may stand for another one by now, or the VM can be
   * started. @returns false where there is nothing to be done about it @throws MintError where that is known better
   */
  async #recover(error: unknown): Promise<boolean> {
    if (!(error instanceof MintError) || !['vm-not-found', 'vm-not-running'].includes(error.code))
      return false;
    try {
      this.#sendTarget(await this.#destination.revive(), true);
      return true;
    } catch (renewed) {
      const isNews = renewed instanceof MintError && renewed.code === 'vm-not-running';
      if (isNews || (isDefinite(renewed) && this.#login.settings.instance === undefined)) throw renewed;
      return false;
    }
  }

  #log(error: unknown): void {
    this.#services.log(`${this.vm.name}: ${error instanceof Error ? error.message : String(error)}`);
  }
}
