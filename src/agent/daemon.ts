/** The agent's life: one per user, from its lock to its last socket. */
import { closeSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { devNull } from 'node:os';
import { join } from 'node:path';
import { Aws } from '../aws/aws.ts';
import { MintError } from '../errors.ts';
import { ensureClosedDirectory, ensurePrivateDirectory } from '../platform/files.ts';
import { forbidCoreFiles, reduceEnvironment } from '../platform/hardening.ts';
import { acquireLock } from '../platform/lock.ts';
import { type Paths, vmPaths } from '../platform/paths.ts';
import { socketPath } from '../platform/sockets.ts';
import { TrustStore } from '../trust/store.ts';
import { version } from '../version.ts';
import { LastAddresses } from '../vms/last-address.ts';
import { Names } from '../vms/names.ts';
import { BlockRefresh } from './block-refresh.ts';
import type { AgentContext } from './context.ts';
import { serveProven } from './control/proof.ts';
import type { AgentStatus } from './control/protocol.ts';
import { ControlServer } from './control/server.ts';
import { HandedOverCredentials } from './credentials/handover.ts';
import { ManagedKeys } from './credentials/managed-keys.ts';
import { requireDescriptors } from './descriptors.ts';
import { Forward } from './forward.ts';
import { HostKeyChecks } from './host-key-check.ts';
import { Jobs } from './jobs.ts';
import { listen } from './listener.ts';
import { openLog } from './log.ts';
import { claimForMachine } from './machine.ts';
import type { Services } from './services.ts';
import { Starts } from './starts.ts';
import { Vms } from './vms.ts';

/**
 * How often the agent looks whether it can still be reached, in milliseconds: less than a connection waits
 * for an agent to come up.
 */
const lookInterval = 5000;
/** How long a connection that has started the agent has it for itself, in milliseconds. */
const prepareDelay = 500;
/** An agent that no proxy needs goes after this time, in milliseconds. */
const idleLimit = 30 * 60_000;

export interface AgentHooks {
  /** The sockets are there. */
  readonly ready: () => void;
  /** A connection has started it, and waits. */
  readonly isAwaited?: boolean;
  /** It is wanted from login to logout: it does not end for want of a proxy. */
  readonly stays?: boolean;
}

/**
 * Runs the agent until it is told to stop, is idle for 30 minutes (unless it `stays`), or gets SIGTERM or SIGINT.
 *
 * @returns false where another agent holds the lock
 * @throws MintError where it cannot run here, and where one that stays ends though nobody wanted it to
 */
export async function runAgent(paths: Paths, hooks: AgentHooks): Promise<boolean> {
  process.umask(0o077);
  reduceEnvironment();
  // A client of the SDK takes nothing from this user's own AWS files: each caller has its settings.
  Object.assign(process.env, { AWS_CONFIG_FILE: devNull, AWS_SHARED_CREDENTIALS_FILE: devNull });
  forbidCoreFiles({ wait: true });
  closeInherited();
  requireDescriptors();
  const credentials = new HandedOverCredentials();
  const aws = new Aws(credentials);
  socketPath(paths.control);
  ensurePrivateDirectory(paths.dir);
  for (const directory of [paths.run, paths.agentSockets, paths.sharedSockets])
    ensureClosedDirectory(directory);
  ensurePrivateDirectory(paths.hosts);
  const lock = acquireLock(join(paths.run, 'lock'), { waitMilliseconds: 0 });
  if (lock === undefined) return false;
  const endClaim = claimForMachine(join(paths.run, 'machine'), paths.run);

  const log = openLog(paths.agentLog);
  const trust = new TrustStore(paths);
  const names = new Names(paths, aws);
  const context: AgentContext = { paths, log, aws, trust, names, lastAddresses: new LastAddresses(paths) };
  const managedKeys = new ManagedKeys({ paths, log }, () => rest());
  const jobs = new Jobs({ paths, log, trust });
  const services: Services = {
    ...context,
    credentials,
    hostKeyChecks: new HostKeyChecks(context),
    starts: new Starts(aws, names, log),
    blocks: new BlockRefresh(context),
    managedKeys,
    jobs,
  };
  trust.start();
  const vms = new Vms(services);
  const forward = new Forward(services, () => vms.met());
  const startedAt = new Date().toISOString();

  let end: (reason: string) => void = () => {};
  const ended = new Promise<string>((resolve) => {
    end = resolve;
  });
  // Taken away, or given up: the live proxies bring up the next one.
  let isLost = false;
  let idle: NodeJS.Timeout | undefined;
  const rest = () => {
    clearTimeout(idle);
    const isNeeded = control.connections > 0 || jobs.open.length > 0 || managedKeys.unlocked.length > 0;
    if (!isNeeded && !hooks.stays) idle = setTimeout(() => end('nobody needs it'), idleLimit);
  };
  const control = new ControlServer(services, {
    vms,
    forward,
    status: () => status(startedAt, { control, vms, forward }, services),
    stop: () => end('it was told to'),
    superseded: () => {
      isLost = true;
      end('a newer version replaces it');
    },
    changed: rest,
  });
  rest();
  process.once('SIGTERM', () => end('SIGTERM')).once('SIGINT', () => end('SIGINT'));
  process.on('SIGHUP', () => {});

  removeStaleSockets(paths);
  await forward.start();
  forward.restore();
  const listener = await listen(paths.control, paths.run, (socket) =>
    serveProven(socket, paths, (proven) => control.serve(proven)),
  );
  // Then nobody new can reach it, and its lock keeps a new one away.
  const look = setInterval(() => {
    if (listener.isInPlace()) {
      forward.restore();
      return void vms.prepare();
    }
    isLost = true;
    end('its socket was removed');
  }, lookInterval).unref();
  log(`mint-ssh ${version} runs`);
  hooks.ready();
  // Whoever has started it comes first: a socket for each VM takes longer than an answer.
  const prepare = setTimeout(() => void vms.prepare(), hooks.isAwaited ? prepareDelay : 0);

  const reason = await ended;
  clearInterval(look);
  clearTimeout(prepare);
  log(`ends: ${reason}`);
  if (!isLost) control.sayStopping();
  listener.remove();
  await vms.removeSockets();
  forward.close();
  names.cache.flush();
  endClaim();
  lock.release();
  // What keeps it up at login starts it again then.
  if (isLost && hooks.stays) throw new MintError('agent-unavailable', `the agent ends: ${reason}`);
  return true;
}

function status(
  startedAt: string,
  {
    control,
    vms,
    forward,
  }: { readonly control: ControlServer; readonly vms: Vms; readonly forward: Forward },
  { paths, jobs, managedKeys }: Services,
): AgentStatus {
  return {
    pid: process.pid,
    version,
    startedAt,
    connections: control.connections,
    jobs: jobs.open,
    unlockedKeys: managedKeys.unlocked,
    vms: [...vms.met()].map((vm) => {
      const left = vm.key.freshForMs;
      return {
        name: vm.name,
        socket: vmPaths(paths, vm.name).socket,
        connections: vm.connections.size,
        key: vm.key.current?.line,
        pushSecondsLeft: left === undefined ? undefined : Math.floor(left / 1000),
        forwardingRefused: forward.refusal(vm.name),
      };
    }),
  };
}

/** What an agent that was killed left behind; with the lock held they are nobody's. */
function removeStaleSockets(paths: Paths): void {
  for (const name of readdirSync(paths.agentSockets)) {
    rmSync(join(paths.agentSockets, name), { force: true, recursive: true });
  }
  for (const name of readdirSync(paths.run)) {
    if (/^\.\d+-\d+$/.test(name)) rmSync(join(paths.run, name), { force: true });
  }
}

/**
 * Closes what the agent got from the process that started it. Whoever runs `ssh dev | tail` waits for every
 * holder of that pipe. Node opens all of its own descriptors close-on-exec; one that came through an exec
 * without the flag is somebody else's.
 */
function closeInherited(): void {
  if (process.platform !== 'linux') return;
  for (const name of readdirSync('/proc/self/fd')) {
    const descriptor = Number(name);
    if (descriptor <= 2) continue;
    try {
      const flags = /^flags:\s*(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${name}`, 'latin1'))?.[1] ?? '0';
      const closeOnExec = (Number.parseInt(flags, 8) & 0o2000000) !== 0;
      if (!closeOnExec && !readlinkSync(`/proc/self/fd/${name}`).startsWith('anon_inode:'))
        closeSync(descriptor);
    } catch {
      // The descriptor of the listing itself.
    }
  }
}

/** @throws MintError `agent-unavailable`, for whoever waits for an agent that is already there */
export function alreadyRunning(): MintError {
  return new MintError('agent-unavailable', 'an agent is running already', { hint: 'mint-ssh agent status' });
}
