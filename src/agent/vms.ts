/** The VMs that the agent knows, and which of them have a socket. */
import { statSync } from 'node:fs';
import { descriptorsLeft } from '../platform/descriptors.ts';
import { vmPaths } from '../platform/paths.ts';
import { writtenNames } from '../settings/approved-names.ts';
import { loadSettings } from '../settings/settings.ts';
import { expectedKeys } from './credentials/choose.ts';
import type { CredentialContext } from './credentials/credential.ts';
import { type Listener, listen } from './listener.ts';
import { Vm } from './vm-socket.ts';

/** How many VMs get a socket before the first connection to them. */
const maxEarlySockets = 256;

/** Descriptors kept free for connections: a login takes three, and logins come in parallel. */
const reservedDescriptors = 96;

/** An agent with fewer sockets than this does not count its descriptors before it opens another one. */
const fewSockets = 64;

export class Vms {
  readonly #context: CredentialContext;
  readonly #vms = new Map<string, Vm>();
  readonly #met = new Set<Vm>();
  /** The VMs with a socket, the least recently used first. */
  readonly #served = new Set<Vm>();
  #settingsTimes: string | undefined;

  constructor(context: CredentialContext) {
    this.#context = context;
  }

  /** The VM that a connection is for. */
  get(name: string): Vm {
    const vm = this.#known(name);
    this.#met.add(vm);
    return vm;
  }

  /** Forgets a VM that was not found, if it has neither a connection nor a socket. */
  forgetUnmet(vm: Vm): void {
    if (vm.connections.size > 0 || vm.listener !== undefined) return;
    this.#met.delete(vm);
    this.#vms.delete(vm.name);
  }

  /** The VMs to which this agent has had a connection. */
  met(): Iterable<Vm> {
    return this.#met;
  }

  /**
   * Opens the sockets of the known VMs, if a file that names them has changed since the last call: some clients list the
   * keys of an agent before they start the proxy. Never rejects; the connection itself reports what is wrong.
   */
  async prepare(): Promise<void> {
    const { paths, log } = this.#context;
    try {
      const times = [paths.sshToml, paths.sshConfig]
        .map((path) => statSync(path, { throwIfNoEntry: false })?.mtimeMs)
        .join();
      if (times === this.#settingsTimes) return;
      this.#settingsTimes = times;
      void this.#prepareFound().catch((error: Error) => log(`cannot open all sockets: ${error.message}`));
      const { vms } = loadSettings(paths, {});
      await this.#openEarly(vms);
    } catch (error) {
      log(`cannot open the sockets of all VMs: ${(error as Error).message}`);
    }
  }

  /** Opens the sockets of VMs that have a block but no table in ssh.toml, and of those in the cache that are the caller's own. */
  async #prepareFound(): Promise<void> {
    const { paths, names } = this.#context;
    const found = new Set([...writtenNames(paths).all, ...names.cache.ownNames()]);
    await this.#openEarly([...found]);
  }

  /** Opens sockets of VMs that no proxy has asked for yet, as far as the limit on open files allows. */
  async #openEarly(names: readonly string[]): Promise<void> {
    const wanted = names.slice(0, maxEarlySockets);
    const room = descriptorsLeft(wanted.length + reservedDescriptors) - reservedDescriptors;
    for (const name of wanted.slice(0, Math.max(0, room))) await this.ensureSocket(this.#known(name));
    if (room < wanted.length) {
      this.#context.log(
        `opened ${Math.max(0, room)} of ${wanted.length} sockets early: open-file limit; others open on demand`,
      );
    }
  }

  /** Closes the sockets of VMs without a connection, the least recently used first, until there is room. */
  async #makeRoom(): Promise<void> {
    if (this.#served.size < fewSockets) return;
    for (const vm of this.#served) {
      if (descriptorsLeft(reservedDescriptors) >= reservedDescriptors) return;
      if (vm.connections.size === 0) await this.#closeSocket(vm);
    }
  }

  async #closeSocket(vm: Vm): Promise<void> {
    this.#served.delete(vm);
    const listener = await vm.listener?.catch(() => undefined);
    vm.listener = undefined;
    listener?.remove();
    listener?.close();
  }

  #known(name: string): Vm {
    let vm = this.#vms.get(name);
    if (vm === undefined) {
      vm = new Vm(name, this.#context.log, (each) => this.#expectedKeys(each));
      this.#vms.set(name, vm);
    }
    return vm;
  }

  /**
   * Resolves when the VM's socket is in place. A socket that another program removed is replaced.
   * @throws MintError `agent-unavailable`
   */
  async ensureSocket(vm: Vm): Promise<void> {
    const { paths } = this.#context;
    if (!this.#served.has(vm)) await this.#makeRoom();
    this.#served.delete(vm);
    this.#served.add(vm);
    const last = vm.listener;
    const listener = this.#usable(last).then(
      (usable) => usable ?? listen(vmPaths(paths, vm.name).socket, paths.run, (socket) => vm.serve(socket)),
    );
    vm.listener = listener;
    try {
      await listener;
    } catch (error) {
      if (vm.listener === listener) vm.listener = undefined;
      throw error;
    }
  }

  async #usable(last: Promise<Listener> | undefined): Promise<Listener | undefined> {
    const listener = await last?.catch(() => undefined);
    if (listener?.isInPlace()) return listener;
    listener?.close();
    return undefined;
  }

  /** Removes the socket of a VM that no longer exists. */
  async removeSocket(name: string): Promise<void> {
    const vm = this.#vms.get(name);
    if (vm === undefined) return;
    await this.#closeSocket(vm);
    this.forgetUnmet(vm);
  }

  /** If the settings are wrong, the connection itself reports that. */
  #expectedKeys(vm: Vm): readonly Buffer[] {
    try {
      return expectedKeys(this.#context, vm);
    } catch {
      return [vm.key.list().blob];
    }
  }

  async removeSockets(): Promise<void> {
    for (const vm of this.#vms.values()) (await vm.listener?.catch(() => undefined))?.remove();
  }
}
