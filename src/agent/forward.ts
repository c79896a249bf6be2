/** What `ssh -A` forwards: where the user's own agent is, and the sockets that reach it. */
import { ensureClosedDirectory } from '../platform/files.ts';
import { vmPaths } from '../platform/paths.ts';
import { hasForwardSockets } from '../platform/sockets.ts';
import { loadSettings, type Settings, type VmSettings } from '../settings/settings.ts';
import { ForwardSocket } from './forward-socket.ts';
import type { Services } from './services.ts';
import { noUpstream } from './upstream.ts';

export class Forward {
  readonly #services: Services;
  /** What the live proxies said, the oldest first. */
  readonly #told = new Map<object, string>();
  readonly #shared: ForwardSocket;
  readonly #own = new Map<string, ForwardSocket>();

  constructor(services: Services) {
    this.#services = services;
    this.#shared = this.#socket(services.paths.forward, () => this.#sharedUpstreams());
  }

  /** `run/forward.sock` is there from the agent's first moment. */
  async start(): Promise<void> {
    if (hasForwardSockets) await this.#shared.ensure();
  }

  /**
   * A proxy came, and said where the agent of its user is. A login never fails for it.
   * @param proxy until it is `forget`ten
   */
  async tell(proxy: object, upstream: string | undefined, vm: VmSettings): Promise<void> {
    if (!hasForwardSockets) return;
    if (upstream !== undefined) this.#told.set(proxy, upstream);
    await this.#shared.ensure();
    if (vm.upstreamAgent === undefined) return;
    try {
      await this.#ownSocket(vm.name).ensure();
    } catch (error) {
      this.#services.log(`${vm.name}: cannot forward its agent: ${(error as Error).message}`);
    }
  }

  forget(proxy: object): void {
    this.#told.delete(proxy);
  }

  close(): void {
    this.#shared.close();
    for (const socket of this.#own.values()) socket.close();
  }

  /** What the settings say settles it; else the user's agent is where the latest live proxy says. */
  #sharedUpstreams(): readonly string[] {
    const configured = this.#settings().upstreamAgent;
    if (configured !== undefined) return [configured];
    const told = [...this.#told.values()].reverse();
    const end = told.indexOf(noUpstream);
    return [...new Set(end < 0 ? told : told.slice(0, end))];
  }

  #ownSocket(vm: string): ForwardSocket {
    let socket = this.#own.get(vm);
    if (socket === undefined) {
      ensureClosedDirectory(this.#services.paths.forwardSockets);
      socket = this.#socket(vmPaths(this.#services.paths, vm).forward, () => {
        const configured = this.#settings().vm(vm)?.upstreamAgent;
        return configured === undefined ? [] : [configured];
      });
      this.#own.set(vm, socket);
    }
    return socket;
  }

  #socket(path: string, upstreams: () => readonly string[]): ForwardSocket {
    const { paths, log } = this.#services;
    return new ForwardSocket({ path, runDirectory: paths.run, log, upstreams });
  }

  #settings(): Settings {
    return loadSettings(this.#services.paths, {});
  }
}
