import { statSync } from 'node:fs';
import { descriptorsLeft } from '../platform/descriptors.ts';
import { vmPaths } from '../platform/paths.ts';
import { writtenNames } from '../settings/approved-names.ts';
import { loadSettings } from '../settings/settings.ts';
import { expectedKey } from './credentials/choose.ts';
import type { CredentialContext } from './credentials/credential.ts';
import { type Listener, listen } from './listener.ts';
import { Vm } from './vm-socket.ts';

/** How many VMs get a socket before the first connection to them. */
const maxEarlySockets = 256;

/** Descriptors kept free for connections: a login takes three, and logins come in parallel. */
const reservedDescriptors = 96;

/** An agent with fewer sockets than this does not count its descriptors before it opens another one. */
const fewSockets = 64;

/** The VMs, each with the socket that serves its key. */
export class Vms {
  readonly #context: CredentialContext;
  readonly #vms = new Map<string, Vm>();
  readonly #met = new Set<Vm>();
  /** Those with a socket, the least recently used first. */
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

  /** A name that no VM was found for leaves nothing. */
  forgetUnmet(vm: Vm): void {
    if (vm.connections.size > 0 || vm.listener !== undefined) return;
    this.#met.delete(vm);
    this.#vms.delete(vm.name);
  }

  /** Those this agent had a connection for. */
  met(): Iterable<Vm> {
    return this.#met;
  }

  /**
   * Makes the sockets of the VMs that are known, where a file that names them has changed since the last time:
   * some clients list the keys of an agent before they start the proxy. Never fails: the connection itself says
   * what is wrong.
   */
  async prepare(): Promise<void> {
    const { paths, log } = this.#context;
    try {
      const times = [paths.sshToml, paths.sshConfig]
        .map((path) => statSync(path, { throwIfNoEntry: false })?.mtimeMs)
        .join();
      if (times === this.#settingsTimes) return;
      this.#settingsTimes = times;
      void this.#prepareFound().catch((error: Error) => log(`cannot make all sockets: ${error.message}`));
      const { vms } = loadSettings(paths, {});
      await this.#openEarly(vms);
    } catch (error) {
      log(`cannot make the sockets of all VMs: ${(error as Error).message}`);
    }
  }

  /** VMs that have a block but no table in ssh.toml, and the caller's own ones in the cache of EC2's answers. */
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
      vm = new Vm(name, this.#context.log, (each) => this.#expectedKey(each));
      this.#vms.set(name, vm);
    }
    return vm;
  }

  /**
   * Resolves when the VM's socket is in its place. A socket that another program removed is replaced.
   *
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

  /** A name that stands for nothing any more. */
  async removeSocket(name: string): Promise<void> {
    const vm = this.#vms.get(name);
    if (vm === undefined) return;
    await this.#closeSocket(vm);
    this.forgetUnmet(vm);
  }

  /** What is wrong with the settings the connection itself says. */
  #expectedKey(vm: Vm): Buffer | undefined {
    try {
      return expectedKey(this.#context, vm);
    } catch {
      return vm.key.list().blob;
    }
  }

  async removeSockets(): Promise<void> {
    for (const vm of this.#vms.values()) (await vm.listener?.catch(() => undefined))?.remove();
  }
}
