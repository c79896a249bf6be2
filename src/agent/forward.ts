/**
 * `ssh -A`: which ssh-agent of the user a VM may use, and the sockets through which it does.
 *
 * ssh forwards the socket that the VM's block names, `run/forward/VM.sock`. OpenSSH 8.9 and newer names the session first
 * (session-bind@openssh.com with is_forwarding, PROTOCOL.agent §1), so the request goes to the ssh-agent of the user who
 * has that connection. Older versions and other clients do not name the session.
 */
import { readdirSync, statSync } from 'node:fs';
import { basename } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ensureClosedDirectory } from '../platform/files.ts';
import { ensureForwardSockets } from '../platform/forward-socket.ts';
import { vmPaths } from '../platform/paths.ts';
import { hasForwardSockets } from '../platform/sockets.ts';
import { noUpstream } from '../platform/user-agent-socket.ts';
import { writtenNames } from '../settings/approved-names.ts';
import { loadSettings } from '../settings/settings.ts';
import type { SignedExchange } from '../ssh/hostkey.ts';
import type { SessionBind } from '../ssh/session-bind.ts';
import type { AgentContext } from './context.ts';
import { ForwardSocket } from './forward-socket.ts';
import { findSession } from './sessions.ts';

/** What forwarding needs to know about the connection of one proxy. */
export interface ForwardingConnection {
  readonly host: { readonly exchange: SignedExchange | undefined };
  /** The ssh-agent of the user who runs this ssh: a path, or `none`; undefined if there is none. */
  readonly upstreamAgent: string | undefined;
  /**
   * Whether the client named its session when it asked for a signature; then it does so for forwarding too. Undefined if
   * it has not asked yet, or asks another agent.
   */
  readonly clientBinds: boolean | undefined;
  /** Whether the client may still ask for that signature. */
  readonly isLoggingIn: boolean;
}

/** A VM with its live connections. */
export interface ForwardingVm {
  readonly name: string;
  readonly connections: ReadonlySet<ForwardingConnection>;
}

export type ForwardRoute =
  | { readonly upstream: string }
  /** `isNews`: the user may not expect the refusal, and is told at the next login. */
  | { readonly refusal: string; readonly isNews: boolean };

/**
 * Decides which ssh-agent a client of a forward socket reaches: never one that was not forwarded to this VM.
 * @param bind the session that the client named in its first message; undefined if it named none
 * @param connections the live connections to the VM whose socket it is
 * @param configured `upstream_agent` of the settings
 */
export function routeForward(
  bind: SessionBind | undefined,
  connections: Iterable<ForwardingConnection>,
  configured: string | undefined,
): ForwardRoute {
  // A connection without a key exchange has no channels.
  const live = [...connections].filter(({ host }) => host.exchange !== undefined);
  if (live.length === 0) return { refusal: 'no connection to it is open', isNews: false };
  if (configured !== undefined) return { upstream: configured };
  // The VM knows the sessions of all its connections, so through an ssh that names no session it could name another
  // one in its first message. If every client names its own session, ssh does so before the VM can.
  if (bind !== undefined && live.every(({ clientBinds }) => clientBinds === true)) {
    if (!bind.isForwarding) return { refusal: 'its session was named for a login', isNews: true };
    const own = findSession(bind, live);
    if (own === undefined) return { refusal: 'its session does not run through this agent', isNews: true };
    return routeTo(own.upstreamAgent);
  }
  const [upstream, ...others] = new Set(live.map((each) => each.upstreamAgent ?? noUpstream));
  if (others.length > 0) {
    return {
      refusal: `ssh did not say which of ${live.length} connections asks, and they have different agents`,
      isNews: true,
    };
  }
  return routeTo(upstream);
}

function routeTo(upstream: string | undefined): ForwardRoute {
  if (upstream === undefined || upstream === noUpstream)
    return { refusal: 'its user has no agent', isNews: false };
  return { upstream };
}

/** How long a request waits for other logins to the VM to show whether their clients name sessions, in milliseconds. */
const settlingMs = 3000;

export class Forward {
  readonly #context: Pick<AgentContext, 'paths' | 'log'>;
  /** Every VM that this agent has connections for. */
  readonly #vms: () => Iterable<ForwardingVm>;
  readonly #shared: ForwardSocket;
  readonly #sockets = new Map<string, ForwardSocket>();
  /** Why the last request of each VM reached no agent. */
  readonly #refused = new Map<string, string>();
  /** VMs whose user has not been told of that yet. */
  readonly #untold = new Set<string>();
  /** The modification time of the sockets' directory at the last `restore`. */
  #restoredFrom: number | undefined;

  constructor(context: Pick<AgentContext, 'paths' | 'log'>, vms: () => Iterable<ForwardingVm>) {
    this.#context = context;
    this.#vms = vms;
    this.#shared = this.#socket(context.paths.forward, undefined);
  }

  /** Opens `run/forward.sock`, which blocks of an older version name for every VM. */
  async start(): Promise<void> {
    if (hasForwardSockets) await this.#shared.ensure();
  }

  /**
   * A proxy has connected for the VM. A login never fails because of forwarding.
   * @returns what to tell its user about an earlier request that reached no agent
   */
  async open(vm: ForwardingVm): Promise<string | undefined> {
    if (!hasForwardSockets) return undefined;
    try {
      await Promise.all([this.#shared.ensure(), this.#socketOf(vm).ensure()]);
    } catch (error) {
      this.#context.log(`${vm.name}: cannot forward an agent: ${(error as Error).message}`);
    }
    if (!this.#untold.delete(vm.name)) return undefined;
    return `an earlier \`ssh -A ${vm.name}\` reached no agent: ${this.#refused.get(vm.name)}`;
  }

  /** A connection to the VM has ended. The socket is closed with the last one. */
  closed(vm: ForwardingVm): void {
    if (vm.connections.size > 0) return;
    this.#sockets.get(vm.name)?.close();
    this.#sockets.delete(vm.name);
  }

  /**
   * Restores removed files that blocks name: without them ssh prints an error at each login, and `-A` forwards the VM's
   * own agent. Never throws.
   */
  restore(): void {
    const { paths, log } = this.#context;
    if (!hasForwardSockets) return;
    try {
      const changedAt = statSync(paths.forwardSockets, { throwIfNoEntry: false })?.mtimeMs;
      if (changedAt !== undefined && changedAt === this.#restoredFrom) return;
      const there = new Set(changedAt === undefined ? [] : readdirSync(paths.forwardSockets));
      const missing = [...writtenNames(paths).all].filter(
        (vm) => !there.has(basename(vmPaths(paths, vm).forward)),
      );
      ensureForwardSockets(paths, missing);
      this.#restoredFrom = changedAt;
    } catch (error) {
      log(`cannot restore the files of ${paths.forwardSockets}: ${(error as Error).message}`);
    }
  }

  /** @returns why the VM's last request reached no agent; undefined if it did, or if there was none */
  refusal(vm: string): string | undefined {
    return this.#refused.get(vm);
  }

  close(): void {
    this.#shared.close();
    for (const socket of this.#sockets.values()) socket.close();
  }

  #socketOf(vm: ForwardingVm): ForwardSocket {
    let socket = this.#sockets.get(vm.name);
    if (socket === undefined) {
      ensureClosedDirectory(this.#context.paths.forwardSockets);
      socket = this.#socket(vmPaths(this.#context.paths, vm.name).forward, vm);
      this.#sockets.set(vm.name, socket);
    }
    return socket;
  }

  /** @param vm whose socket it is; undefined for the socket that all VMs share */
  #socket(path: string, vm: ForwardingVm | undefined): ForwardSocket {
    const { paths, log } = this.#context;
    const route = (bind: SessionBind | undefined) => this.#route(vm, bind);
    return new ForwardSocket({ path, runDirectory: paths.run, log, route });
  }

  async #route(vm: ForwardingVm | undefined, bind: SessionBind | undefined): Promise<string | undefined> {
    const connections = () =>
      vm === undefined ? [...this.#vms()].flatMap((each) => [...each.connections]) : [...vm.connections];
    await settled(connections);
    const found = routeForward(bind, connections(), this.#configured(vm?.name));
    this.#note(vm?.name, found);
    return 'upstream' in found ? found.upstream : undefined;
  }

  #configured(vm: string | undefined): string | undefined {
    const settings = loadSettings(this.#context.paths, {});
    return (vm === undefined ? undefined : settings.vm(vm)?.upstreamAgent) ?? settings.upstreamAgent;
  }

  #note(vm: string | undefined, route: ForwardRoute): void {
    if ('upstream' in route) {
      if (vm !== undefined) this.#refused.delete(vm);
      return;
    }
    this.#context.log(`${vm ?? 'a VM'}: a forwarded request reached no agent: ${route.refusal}`);
    if (vm === undefined || !route.isNews) return;
    this.#refused.set(vm, route.refusal);
    this.#untold.add(vm);
  }
}

/** Resolves once every client that still logs in has shown whether it names its session, or time is up. */
async function settled(connections: () => readonly ForwardingConnection[]): Promise<void> {
  const isOpen = ({ host, clientBinds, isLoggingIn }: ForwardingConnection) =>
    host.exchange !== undefined && clientBinds === undefined && isLoggingIn;
  for (const deadline = performance.now() + settlingMs; performance.now() < deadline; await sleep(20))
    if (!connections().some(isOpen)) return;
}
