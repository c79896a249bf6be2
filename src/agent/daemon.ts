/** The agent's process: one per user, from its lock and sockets to its exit. */
import { readdirSync, rmSync } from 'node:fs';
import { devNull } from 'node:os';
import { join } from 'node:path';
import { Aws } from '../aws/aws.ts';
import { MintError } from '../errors.ts';
import { closeInheritedDescriptors, requireDescriptors } from '../platform/descriptors.ts';
import { ensureClosedDirectory, ensurePrivateDirectory } from '../platform/files.ts';
import { forbidCoreFiles, reduceEnvironment } from '../platform/hardening.ts';
import { acquireLock, claimForMachine } from '../platform/lock.ts';
import { type Paths, vmPaths } from '../platform/paths.ts';
import { socketPath } from '../platform/sockets.ts';
import { TrustStore } from '../trust/store.ts';
import { version } from '../version.ts';
import { LastAddresses } from '../vms/last-address.ts';
import { Names } from '../vms/names.ts';
import { BlockRefresh } from './block-refresh.ts';
import { type AgentContext, openLog } from './context.ts';
import { serveProven } from './control/proof.ts';
import type { AgentStatus } from './control/protocol.ts';
import { type ControlContext, ControlServer } from './control/server.ts';
import { CallerCredentials } from './credentials/caller-credentials.ts';
import { ManagedKeys } from './credentials/managed-keys.ts';
import { Forward } from './forward.ts';
import { HostKeyChecks } from './host-key-check.ts';
import { Jobs } from './jobs.ts';
import { listen } from './listener.ts';
import { InstanceStarts } from './start-instance.ts';
import { Vms } from './vms.ts';

/** How often the agent checks that its socket is in place: less than the time that a connection waits for an agent. */
const checkIntervalMs = 5000;
/** How long an agent that a proxy has started serves that proxy before it opens the sockets of other VMs. */
const prepareDelayMs = 500;
/** An agent that no proxy needs exits after this time. */
const idleLimitMs = 30 * 60_000;

export interface AgentHooks {
  /** Called when the agent listens. */
  readonly ready: () => void;
  /** A proxy has started the agent and waits for it. */
  readonly isAwaited?: boolean;
  /** The agent runs from login to logout: it does not exit when it is idle. */
  readonly stays?: boolean;
}

/**
 * Runs the agent until it is told to stop, has been idle for 30 minutes (unless it `stays`), or gets SIGTERM or SIGINT.
 * @returns false if another agent holds the lock
 * @throws MintError if it cannot run here; `agent-unavailable` if it `stays` and has lost its socket
 */
export async function runAgent(paths: Paths, hooks: AgentHooks): Promise<boolean> {
  process.umask(0o077);
  reduceEnvironment();
  // The SDK must read no AWS files here: each caller has its own settings.
  Object.assign(process.env, { AWS_CONFIG_FILE: devNull, AWS_SHARED_CREDENTIALS_FILE: devNull });
  forbidCoreFiles({ wait: true });
  closeInheritedDescriptors();
  requireDescriptors();
  const credentials = new CallerCredentials();
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
  const shared: AgentContext = { paths, log, aws, trust, names, lastAddresses: new LastAddresses(paths) };
  const managedKeys = new ManagedKeys({ paths, log }, () => resetIdleTimer());
  const jobs = new Jobs({ paths, log, trust });
  const context: ControlContext = {
    ...shared,
    credentials,
    hostKeyChecks: new HostKeyChecks(shared),
    starts: new InstanceStarts(aws, names, log),
    blockRefresh: new BlockRefresh(shared),
    managedKeys,
    jobs,
  };
  trust.start();
  const vms = new Vms(context);
  const forward = new Forward(context, () => vms.met());
  const startedAt = new Date().toISOString();

  let end: (reason: string) => void = () => {};
  const ended = new Promise<string>((resolve) => {
    end = resolve;
  });
  // If the socket was removed or a newer version takes over, the live proxies start the next agent.
  let isLost = false;
  let idle: NodeJS.Timeout | undefined;
  const resetIdleTimer = () => {
    clearTimeout(idle);
    const isNeeded = control.connections > 0 || jobs.open.length > 0 || managedKeys.unlocked.length > 0;
    if (!isNeeded && !hooks.stays) idle = setTimeout(() => end('idle'), idleLimitMs);
  };
  const control = new ControlServer(context, {
    vms,
    forward,
    status: () => status(startedAt, { control, vms, forward }, context),
    stop: () => end('it was told to stop'),
    superseded: () => {
      isLost = true;
      end('a newer version replaces it');
    },
    changed: resetIdleTimer,
  });
  resetIdleTimer();
  process.once('SIGTERM', () => end('SIGTERM')).once('SIGINT', () => end('SIGINT'));
  process.on('SIGHUP', () => {});

  removeStaleSockets(paths);
  await forward.start();
  forward.restore();
  const listener = await listen(paths.control, paths.run, (socket) =>
    serveProven(socket, paths, (proven) => control.serve(proven)),
  );
  // Without its socket no new proxy can reach the agent, and its lock prevents another one.
  const check = setInterval(() => {
    if (listener.isInPlace()) {
      forward.restore();
      return void vms.prepare();
    }
    isLost = true;
    end('its socket was removed');
  }, checkIntervalMs).unref();
  log(`mint-ssh ${version} runs`);
  hooks.ready();
  // The proxy that has started the agent connects only now; most logins need this part for their push.
  if (hooks.isAwaited) setImmediate(() => import('../aws/push-sdk.ts').catch(() => {}));
  // The proxy that has started the agent comes first: opening a socket for each VM takes longer than a reply.
  const prepare = setTimeout(() => void vms.prepare(), hooks.isAwaited ? prepareDelayMs : 0);

  const reason = await ended;
  clearInterval(check);
  clearTimeout(prepare);
  log(`ends: ${reason}`);
  if (!isLost) control.sayStopping();
  listener.remove();
  await vms.removeSockets();
  forward.close();
  names.cache.flush();
  endClaim();
  lock.release();
  // The service that keeps the agent running starts it again after an error.
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
  { paths, jobs, managedKeys }: ControlContext,
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

/** Removes what a killed agent has left: while the lock is held, no other agent uses it. */
function removeStaleSockets(paths: Paths): void {
  for (const name of readdirSync(paths.agentSockets)) {
    rmSync(join(paths.agentSockets, name), { force: true, recursive: true });
  }
  for (const name of readdirSync(paths.run)) {
    if (/^\.\d+-\d+$/.test(name)) rmSync(join(paths.run, name), { force: true });
  }
}

/** @returns the error for a command that would start a second agent */
export function alreadyRunning(): MintError {
  return new MintError('agent-unavailable', 'an agent is running already', { hint: 'mint-ssh agent status' });
}
