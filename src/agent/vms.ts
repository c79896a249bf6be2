import { vmPaths } from '../config/paths.ts';
import { type Listener, listen } from './listener.ts';
import type { Services } from './services.ts';
import { Vm } from './vm.ts';

/** The VMs this agent has met, each with the socket that serves its key. */
export class Vms {
  readonly #services: Services;
  readonly #vms = new Map<string, Vm>();

  constructor(services: Services) {
    this.#services = services;
  }

  get(name: string): Vm {
    let vm = this.#vms.get(name);
    if (vm === undefined) {
      vm = new Vm(name, this.#services.log);
      this.#vms.set(name, vm);
    }
    return vm;
  }

  all(): Iterable<Vm> {
    return this.#vms.values();
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

  async removeSockets(): Promise<void> {
    for (const vm of this.#vms.values()) (await vm.listener?.catch(() => undefined))?.remove();
  }
}
