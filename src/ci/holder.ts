/**
 * Debug access to a failed job's VM, from the lease to the destroyed VM. The order is what makes it safe: the lease that a
 * reaper goes by is written first, then the end is armed on the VM, and only then are the visitors' keys authorized. From
 * moment at which the shutdown may be armed, `giveDebugAccess` always ends with `endLease`.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { hint, say } from '../cli/terminal.ts';
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

/** What was asked for; all of it has been checked. */
export interface DebugRequest {
  readonly project: string;
  readonly job: LocatedJob;
  /** How long the visitors may be inside, in seconds. */
  readonly ttlSeconds: number;
  readonly visitors: VisitorKeys;
  readonly destruction: Destruction;
  /** What turns the VM off where neither systemd nor `shutdown` does. */
  readonly endCommand: string | undefined;
  /** What `debug end` needs beside the lease's ID, fit for a shell. */
  readonly endOptions: string;
}

/** A job whose VM has an address. */
export type LocatedJob = OpenJob & { readonly host: string };

export interface DebugContext {
  readonly login: Login;
  readonly store: LeaseStore;
  readonly access: AwsAccess;
  /** This process was told to end. */
  readonly signal: AbortSignal;
  /** The words after `mint-ssh`, for the audit log. */
  readonly word: string;
  readonly announce: (announcement: Announcement) => void;
}

/**
 * Why debug access ended: its time was over, the VM was turned off (from inside, or by `debug end`), `debug end` asked for
 * it, or this process was told to end.
 */
export type Reason = 'time' | 'off' | 'asked' | 'signal';

/** How often the store is polled for a request of `debug end`. */
const storePollMs = 3_000;
/** How often EC2 is asked whether the instance still runs. */
const instancePollMs = 10_000;
/** A clock that is set, and a machine that was suspended, are noticed within this time, in milliseconds. */
const clockPollMs = 500;

/** Only a job's VM is ever destroyed. @throws MintError `bad-vm-name`, `job-not-found`, `usage` */
export function locatedJob(paths: Paths, name: string): LocatedJob {
  const wanted = vmName(name);
  const job = readOpenJobs(paths).find((open) => open.name === wanted);
  if (job === undefined) {
    throw new MintError('job-not-found', `there is no job ${wanted}`, {
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
 * Authorizes the visitors' keys, holds the VM until the time is over or it is ended, and destroys it.
 *
 * @returns why it ended
 * @throws MintError `debug-limit`, `debug-unarmed` and others before anything has changed on the VM; after that, the VM
 *   is destroyed before anything is thrown
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

/** What fails before the session on the VM has begun is a refusal: nothing has changed there. */
async function arm(
  lease: Lease,
  { destruction: { instance }, endCommand }: DebugRequest,
  { access, signal }: DebugContext,
  connect: Connect,
): Promise<Arming> {
  try {
    if (instance !== undefined) {
      const { aws, caller, profile, region } = access;
      // A VM that turns itself off is to be gone, and not only stopped.
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

/** A lease that stays blocks its project until its time is over; the reaper then destroys the VM. */
async function giveBack(store: LeaseStore, lease: Lease): Promise<void> {
  try {
    await closeLease(store, lease);
  } catch (error) {
    if (!(error instanceof MintError)) throw error;
    say(
      `note: the lease ${lease.id} of ${lease.project} is still in the store: ${error.message} (${error.code})`,
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
    throw new MintError('host-key-unverified', `the host key of ${vm} is not on record`, {
      hint: `mint-ssh hosts show ${vm}`,
    });
  }
  return { type: key.type, base64: key.blob.toString('base64'), fingerprint };
}

/** Waits for the first reason to end. A store or EC2 that does not answer is not a reason. */
async function hold(
  lease: Lease,
  { destruction: { instance } }: DebugRequest,
  { store, access, signal: end }: DebugContext,
): Promise<Reason> {
  const done = new AbortController();
  const signal = AbortSignal.any([done.signal, end]);
  const isAsked = async () => {
    const { leases } = await store.read(lease.project);
    // A lease that is gone ends nothing: somebody removed it, or the store answers with nothing.
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

/** By the wall clock or the monotonic one, whichever is first: a suspended machine stops one, setting the clock moves the other. */
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

/** Polls `question` and resolves when the answer is yes; a failed call is ignored. */
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
  const at = (time: number) => new Date(time).toISOString();
  return new MintError(
    'debug-limit',
    `debug access of ${project} is already open: ${holder}, until ${at(endsAt)}`,
    {
      hint: `the project is free at ${at(freeAt(lease))} at the latest, or after: mint-ssh debug end ${id}`,
    },
  );
}

function interrupted(): MintError {
  return new MintError('io-failed', 'interrupted; nobody was authorized');
}
