import { vmPaths } from '../config/paths.ts';
import { listen } from './listener.ts';
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

  /** @throws MintError `agent-unavailable` where the socket cannot be made */
  async ensureSocket(vm: Vm): Promise<void> {
    const { paths } = this.#services;
    const listener =
      vm.listener ?? listen(vmPaths(paths, vm.name).socket, paths.run, (socket) => vm.serve(socket));
    vm.listener = listener;
    try {
      await listener;
    } catch (error) {
      vm.listener = undefined;
      throw error;
    }
  }

  async removeSockets(): Promise<void> {
    for (const vm of this.#vms.values()) (await vm.listener?.catch(() => undefined))?.remove();
  }
}
