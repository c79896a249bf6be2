import { statSync } from 'node:fs';
import { vmPaths } from '../platform/paths.ts';
import { writtenNames } from '../settings/approved-names.ts';
import { loadSettings } from '../settings/settings.ts';
import { expectedKey } from './credentials/choose.ts';
import { type Listener, listen } from './listener.ts';
import type { Services } from './services.ts';
import { Vm } from './vm.ts';

/** Sockets cost descriptors: of very many VMs the first so many have theirs before they are met. */
const mostFound = 256;

/** The VMs, each with the socket that serves its key. */
export class Vms {
  readonly #services: Services;
  readonly #vms = new Map<string, Vm>();
  readonly #met = new Set<Vm>();
  #settingsTimes: string | undefined;

  constructor(services: Services) {
    this.#services = services;
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
    const { paths, log } = this.#services;
    try {
      const times = [paths.sshToml, paths.sshConfig]
        .map((path) => statSync(path, { throwIfNoEntry: false })?.mtimeMs)
        .join();
      if (times === this.#settingsTimes) return;
      this.#settingsTimes = times;
      void this.#prepareFound().catch((error: Error) => log(`cannot make all sockets: ${error.message}`));
      const { vms } = loadSettings(paths, {});
      for (const name of vms) await this.ensureSocket(this.#known(name));
    } catch (error) {
      log(`cannot make the sockets of all VMs: ${(error as Error).message}`);
    }
  }

  /** Those with a block that ssh.toml does not have, and the callers' own that EC2 told of; nobody waits for them. */
  async #prepareFound(): Promise<void> {
    const { paths, names } = this.#services;
    const found = new Set([...writtenNames(paths).all, ...names.cache.ownNames()]);
    for (const name of [...found].slice(0, mostFound)) await this.ensureSocket(this.#known(name));
  }

  #known(name: string): Vm {
    let vm = this.#vms.get(name);
    if (vm === undefined) {
      vm = new Vm(name, this.#services.log, (each) => this.#expectedKey(each));
      this.#vms.set(name, vm);
    }
    return vm;
  }

  /**
   * Resolves when the VM's socket is in its place; one that was removed behind the agent's back is made anew.
   * @throws MintError `agent-unavailable` where it cannot be made
   */
  async ensureSocket(vm: Vm): Promise<void> {
    const { paths } = this.#services;
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
    (await vm.listener?.catch(() => undefined))?.remove();
    vm.listener = undefined;
    this.forgetUnmet(vm);
  }

  /** What is wrong with the settings the connection itself says. */
  #expectedKey(vm: Vm): Buffer | undefined {
    try {
      return expectedKey(this.#services, vm);
    } catch {
      return vm.key.list().blob;
    }
  }

  async removeSockets(): Promise<void> {
    for (const vm of this.#vms.values()) (await vm.listener?.catch(() => undefined))?.remove();
  }
}
