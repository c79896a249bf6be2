/**
 * Gives debug access to a failed job's VM, and destroys the VM at the end. The order makes it safe: first the lease is
 * written, which a reaper goes by, then the end is armed on the VM, and only then are the visitors' keys authorized. Once
 * the shutdown may be armed, `giveDebugAccess` always ends with `endLease`.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { hint, say } from '../cli/terminal.ts';
import { shownTime } from '../cli/time.ts';
import { MintError } from '../errors.ts';
import type { Connect } from '../keys/remote-file.ts';
import { appendAudit } from '../platform/audit.ts';
import type { Paths } from '../platform/paths.ts';
import { type OpenJob, readOpenJobs } from '../settings/open-jobs.ts';
import { vmName } from '../settings/vm-name.ts';
import type { Login } from '../ssh-config/login-config.ts';
import { TrustStore } from '../trust/store.ts';
import { type Arming, armEnd, withVmSessions } from './armed-end.ts';
import type { Announcement } from './build-log.ts';
import {
  type AwsAccess,
  checkAddress,
  type Destruction,
  describeInstance,
  endLease,
  isOff,
} from './destruction.ts';
import {
  closeLease,
  freeAt,
  type Lease,
  type LeaseStore,
  newLeaseId,
  takeLease,
  thisHolder,
} from './leases.ts';
import { authorizeKeys, type VisitorKeys } from './visitor-keys.ts';

/** The checked options of `debug open`. */
export interface DebugRequest {
  readonly project: string;
  readonly job: LocatedJob;
  /** How long the visitors have access, in seconds. */
  readonly ttlSeconds: number;
  readonly visitors: VisitorKeys;
  readonly destruction: Destruction;
  /** The command that turns the VM off if neither systemd nor `shutdown` can. */
  readonly endCommand: string | undefined;
  /** Arguments of `debug end` after the lease ID, quoted for a shell. */
  readonly endOptions: string;
}

/** A job whose VM has an address. */
export type LocatedJob = OpenJob & { readonly host: string };

export interface DebugContext {
  readonly login: Login;
  readonly store: LeaseStore;
  readonly access: AwsAccess;
  /** Aborted by a signal that would end this process. */
  readonly signal: AbortSignal;
  /** The command's words after `mint-ssh`, for the audit log. */
  readonly word: string;
  readonly announce: (announcement: Announcement) => void;
}

/**
 * Why debug access ended: its time was over; the VM was turned off, from inside or by `debug end`; `debug end` requested
 * it; or this process received a signal.
 */
export type Reason = 'time' | 'off' | 'asked' | 'signal';

/** The interval at which the store is polled for a request of `debug end`, in milliseconds. */
const storePollMs = 3_000;
/** The interval at which EC2 is asked whether the instance still runs, in milliseconds. */
const instancePollMs = 10_000;
/** A changed clock, or a suspended machine, is noticed within this time, in milliseconds. */
const clockPollMs = 500;

/**
 * Finds the open job. Debug access is for the VMs of jobs only, because it destroys them.
 *
 * @throws MintError `bad-vm-name`, `job-not-found`, `usage` if the job has no address yet
 */
export function locatedJob(paths: Paths, name: string): LocatedJob {
  const wanted = vmName(name);
  const job = readOpenJobs(paths).find((open) => open.name === wanted);
  if (job === undefined) {
    throw new MintError('job-not-found', `unknown job: ${wanted}`, {
      hint: 'debug access is for VMs of jobs only, because it destroys them in the end: mint-ssh job list',
    });
  }
  const { host } = job;
  if (host !== undefined) return { ...job, host };
  throw new MintError('usage', `the job ${wanted} has no address yet`, {
    hint: `mint-ssh job set ${wanted} --host H`,
  });
}

/**
 * Authorizes the visitors' keys, waits for the end, and destroys the VM.
 *
 * @returns why it ended
 * @throws MintError `debug-limit`, `debug-unarmed` and others before anything changed on the VM; later errors are thrown
 *   after the VM was destroyed
 */
export async function giveDebugAccess(request: DebugRequest, context: DebugContext): Promise<Reason> {
  return await withVmSessions(context.login, async (connect) => {
    const { store, login, signal } = context;
    const lease = await makeLease(request, context);
    const current = await takeLease(store, lease, Date.now());
    if (current !== undefined) throw limit(current);
    const arming = await arm(lease, request, context, connect);
    if (arming.kind === 'refused') {
      await giveBack(store, lease);
      throw arming.error;
    }
    try {
      if (arming.kind === 'unknown') throw arming.error;
      if (signal.aborted) return 'signal';
      const hostKey = hostKeyOf(login.paths, lease.vm);
      const { keys, privateKey } = request.visitors;
      await authorizeKeys(connect, lease.vm, keys, secondsLeft(lease));
      const authorized = keys.map(({ fingerprint }) => fingerprint);
      noteGrant(lease, authorized, request, context);
      const { endOptions } = request;
      context.announce({ lease, hostKey, privateKey, authorized, armedBy: arming.by, endOptions });
      return await hold(lease, request, context);
    } finally {
      say(`debug access to ${lease.vm} ends: destroying the VM`);
      await destroyAndClose(lease, request, context);
      say(`${lease.vm} is destroyed`);
    }
  });
}

async function makeLease(
  { project, job, ttlSeconds, destruction }: DebugRequest,
  { access, signal }: DebugContext,
): Promise<Lease> {
  const { kind, instance } = destruction;
  const described = instance === undefined ? undefined : await describeInstance(access, instance);
  if (described !== undefined) checkAddress(job, described);
  if (signal.aborted) throw interrupted();
  const startedAt = Date.now();
  const { name: vm, host, port, user } = job;
  const lease = {
    id: newLeaseId(),
    project,
    vm,
    host,
    port,
    user,
    holder: thisHolder(),
    startedAt,
    endsAt: startedAt + ttlSeconds * 1000,
    isToEnd: false,
  };
  if (kind === 'command' || described === undefined) return { ...lease, destroy: { kind: 'command' } };
  const { instanceId, region, account } = described;
  return { ...lease, destroy: { kind, instance: instanceId, region, account } };
}

/** A failure before the session on the VM began counts as refused: nothing changed on the VM. */
async function arm(
  lease: Lease,
  { destruction: { instance }, endCommand }: DebugRequest,
  { access, signal }: DebugContext,
  connect: Connect,
): Promise<Arming> {
  try {
    if (instance !== undefined) {
      const { aws, caller, profile, region } = access;
      // The shutdown must terminate the VM, and not only stop it.
      await aws.setShutdown(caller, { profile, region, instanceId: instance, how: 'terminate' });
    }
    if (signal.aborted) throw interrupted();
  } catch (error) {
    if (error instanceof MintError) return { kind: 'refused', error };
    throw error;
  }
  return await armEnd(connect, { vm: lease.vm, lease: lease.id, seconds: secondsLeft(lease), endCommand });
}

function secondsLeft({ endsAt }: Lease): number {
  return Math.max(1, Math.ceil((endsAt - Date.now()) / 1000));
}

async function destroyAndClose(
  lease: Lease,
  { destruction: { command } }: DebugRequest,
  { login: { paths }, store, access: { profile }, word }: DebugContext,
): Promise<void> {
  const how = { event: 'debug-ended', persistence: 'until-confirmed' } as const;
  await endLease(lease, { paths, store, profile, command, word, ...how });
}

/** If the lease cannot be removed, it blocks its project until its time is over. Then the reaper destroys the VM. */
async function giveBack(store: LeaseStore, lease: Lease): Promise<void> {
  try {
    await closeLease(store, lease);
  } catch (error) {
    if (!(error instanceof MintError)) throw error;
    say(
      `note: the lease ${lease.id} of ${lease.project} could not be removed: ${error.message} (${error.code})`,
    );
    hint('mint-ssh debug list');
  }
}

function noteGrant(
  { id, vm, user, project }: Lease,
  authorized: readonly string[],
  { destruction: { instance } }: DebugRequest,
  { login, word }: DebugContext,
): void {
  appendAudit(login.paths, {
    event: 'debug-granted',
    command: word,
    vm,
    instance,
    user,
    keyFingerprint: authorized.join(','),
    lease: id,
    project,
  });
}

function hostKeyOf(paths: Paths, vm: string): Announcement['hostKey'] {
  const { key, fingerprint } = new TrustStore(paths).show(vm)?.pin ?? {};
  if (key === undefined || fingerprint === undefined) {
    throw new MintError('host-key-unverified', `no host key is pinned for ${vm}`, {
      hint: `mint-ssh hosts show ${vm}`,
    });
  }
  return { type: key.type, base64: key.blob.toString('base64'), fingerprint };
}

/** Waits for the first reason to end. An unavailable store or EC2 is not a reason. */
async function hold(
  lease: Lease,
  { destruction: { instance } }: DebugRequest,
  { store, access, signal: end }: DebugContext,
): Promise<Reason> {
  const done = new AbortController();
  const signal = AbortSignal.any([done.signal, end]);
  const isAsked = async () => {
    const { leases } = await store.read(lease.project);
    // A missing lease is not a request to end: someone removed it, or the store returned an empty answer.
    return leases.some(({ id, isToEnd }) => id === lease.id && isToEnd);
  };
  try {
    return await Promise.race([
      untilTime(lease, end, signal),
      poll(isAsked, storePollMs, signal).then(() => 'asked' as const),
      ...(instance === undefined
        ? []
        : [poll(() => isOff(access, instance), instancePollMs, signal).then(() => 'off' as const)]),
    ]);
  } finally {
    done.abort();
  }
}

/** Uses both the wall clock, which can be set, and the monotonic clock, which stops while a machine is suspended. */
async function untilTime(
  { endsAt }: Lease,
  end: AbortSignal,
  signal: AbortSignal,
): Promise<'time' | 'signal'> {
  const deadline = performance.now() + (endsAt - Date.now());
  while (Date.now() < endsAt && performance.now() < deadline && !signal.aborted) {
    await pause(Math.min(clockPollMs, Math.max(1, endsAt - Date.now())), signal);
  }
  return end.aborted ? 'signal' : 'time';
}

/** Calls `question` repeatedly, and resolves when it returns true. Failed calls are ignored. */
async function poll(
  question: () => Promise<boolean>,
  intervalMs: number,
  signal: AbortSignal,
): Promise<void> {
  for (;;) {
    await pause(intervalMs, signal);
    if (signal.aborted) return await new Promise<never>(() => {});
    if (await question().catch(() => false)) return;
  }
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await sleep(ms, undefined, { signal }).catch(() => {});
}

function limit(lease: Lease): MintError {
  const { id, project, holder, endsAt } = lease;
  return new MintError(
    'debug-limit',
    `debug access of ${project} is already open: ${holder}, until ${shownTime(endsAt)}`,
    {
      hint: `the project is free at ${shownTime(freeAt(lease))} at the latest, or after: mint-ssh debug end ${id}`,
    },
  );
}

function interrupted(): MintError {
  return new MintError('io-failed', 'interrupted; no key was authorized');
}
