/**
 * Debug access to a job's VM, from the lease to the destroyed VM. The order is the safety: whoever is let in was let in
 * after the end had been armed on the VM, and after the lease that a reaper goes by had been written.
 */
import { say } from '../cli/terminal.ts';
import { MintError } from '../errors.ts';
import { withKey } from '../keys/authorized-keys.ts';
import { type Connect, changeRemoteFile } from '../keys/remote-file.ts';
import { appendAudit } from '../platform/audit.ts';
import type { Paths } from '../platform/paths.ts';
import { type OpenJob, readOpenJobs } from '../settings/open-jobs.ts';
import { vmName } from '../settings/vm-name.ts';
import type { Login } from '../ssh-config/login-config.ts';
import { TrustStore } from '../trust/store.ts';
import type { Announcement } from './announcement.ts';
import { type AwsAccess, checkPlace, type Destruction, describeInstance, isOver } from './destruction.ts';
import { endLease } from './ending.ts';
import { holdOpen, type Reason } from './hold.ts';
import { destroyTime, type Holding, type Lease, newLeaseId, thisHolder } from './lease.ts';
import type { LeaseStore } from './lease-store.ts';
import { authorizedLine, type Visitors } from './visitor.ts';
import { armEnd, onVm } from './vm-session.ts';

/** What was asked for; all of it has been checked. */
export interface DebugRequest {
  readonly project: string;
  readonly job: Located;
  /** How long the person may be inside, in seconds. */
  readonly ttl: number;
  readonly visitors: Visitors;
  readonly destruction: Destruction;
  /** What ends the machine where neither systemd nor `shutdown` does. */
  readonly endCommand: string | undefined;
  /** The person may forward ports. */
  readonly forwarding: boolean;
  /** What `debug end` needs beside the lease, fit for a shell. */
  readonly endOptions: string;
}

/** A job whose VM has an address. */
export type Located = OpenJob & { readonly host: string };

export interface DebugContext {
  readonly login: Login;
  readonly store: LeaseStore;
  readonly access: AwsAccess;
  /** Between two looks into the store, in milliseconds. */
  readonly interval: number;
  /** This process is to end: the VM is destroyed first. */
  readonly signal: AbortSignal;
  /** The words behind `mint-ssh`. */
  readonly word: string;
  readonly announce: (announcement: Announcement) => void;
}

/** Only a job's VM is ever destroyed. @throws MintError `bad-vm-name`, `job-not-found`, `usage` */
export function locatedJob(paths: Paths, name: string): Located {
  const wanted = vmName(name);
  const job = readOpenJobs(paths).find((open) => open.name === wanted);
  if (job === undefined) {
    throw new MintError('job-not-found', `there is no job ${wanted}`, {
      hint: 'debug access is for the VM of a job alone, because it is destroyed in the end: mint-ssh job list',
    });
  }
  const { host } = job;
  if (host !== undefined) return { ...job, host };
  throw new MintError('usage', `the job ${wanted} has no VM yet`, {
    hint: `mint-ssh job set ${wanted} --host H`,
  });
}

/**
 * Lets the visitors in, holds the VM until its time has come or someone ends it, and destroys it.
 *
 * @returns why it ended @throws MintError `debug-limit` and `debug-unarmed` before anything has changed on the VM; later
 *   failures destroy the VM first
 */
export async function giveDebugAccess(request: DebugRequest, context: DebugContext): Promise<Reason> {
  const { store, login } = context;
  const lease = await makeLease(request, context);
  const held = await store.take(lease, Date.now());
  if (held !== undefined) throw limit(lease.project, held);
  return await onVm(login, async (connect) => {
    const armedBy = await arm(lease, request, context, connect);
    try {
      return await openAndHold(lease, armedBy, request, context, connect);
    } finally {
      await destroy(lease, request, context);
    }
  });
}

async function makeLease(
  { project, job, ttl, destruction }: DebugRequest,
  { access, signal }: DebugContext,
): Promise<Lease> {
  const { kind, instance } = destruction;
  const described = instance === undefined ? undefined : await describeInstance(access, instance);
  if (described !== undefined) checkPlace(job, described);
  if (signal.aborted) throw interrupted();
  const startedAt = Date.now();
  const { name: vm, host, port, user } = job;
  const times = { startedAt, endsAt: startedAt + ttl * 1000 };
  const place = { id: newLeaseId(), project, vm, host, port, user, holder: thisHolder(), ...times };
  if (kind === 'command' || described === undefined) return { ...place, destroy: { kind: 'command' } };
  const { instanceId, region } = described;
  return { ...place, destroy: { kind, instance: instanceId, region } };
}

/**
 * @returns what ends the VM
 * @throws MintError where nothing is armed: then nobody was let in, and the lease is given back
 */
async function arm(
  lease: Lease,
  request: DebugRequest,
  context: DebugContext,
  connect: Connect,
): Promise<string> {
  const { destruction, endCommand } = request;
  const { access, store, signal } = context;
  const { id, vm } = lease;
  let refusal: MintError;
  let mayBeArmed = false;
  try {
    if (destruction.instance !== undefined) {
      const { aws, caller, profile, region } = access;
      // A shutdown from inside ends the instance as well, and not only what runs on it.
      const how = destruction.kind === 'stop' ? 'stop' : 'terminate';
      await aws.setShutdown(caller, { profile, region, instanceId: destruction.instance, how });
    }
    if (signal.aborted) throw interrupted();
    const seconds = Math.max(1, Math.ceil((lease.endsAt - Date.now()) / 1000));
    const arming = await armEnd(connect, { vm, lease: id, seconds, endCommand });
    if (arming.kind === 'armed') return arming.by;
    refusal = arming.error;
    // It may be armed, and then it comes: nobody is let in, and the end is all that is left.
    mayBeArmed = arming.kind === 'unknown';
  } catch (error) {
    await store.close(lease);
    throw error;
  }
  if (mayBeArmed) await destroy(lease, request, context);
  else await store.close(lease);
  throw refusal;
}

async function openAndHold(
  lease: Lease,
  armedBy: string,
  request: DebugRequest,
  context: DebugContext,
  connect: Connect,
): Promise<Reason> {
  const { login, store, interval, signal, announce, word } = context;
  const { visitors } = request;
  if (signal.aborted) return 'signal';
  const hostKey = hostKeyOf(login.paths, lease.vm);
  await letIn(lease, request, connect);
  const admitted = visitors.keys.map(({ fingerprint }) => fingerprint);
  const { id, vm, user, project } = lease;
  appendAudit(login.paths, {
    event: 'debug-granted',
    command: word,
    vm,
    instance: request.destruction.instance,
    user,
    keyFingerprint: admitted.join(','),
    lease: id,
    project,
  });
  const ready = () =>
    announce({
      lease,
      hostKey,
      privateKey: visitors.privateKey,
      admitted,
      armedBy,
      endOptions: request.endOptions,
    });
  const { instance } = request.destruction;
  const isGone = async () => instance !== undefined && (await isOver(context.access, instance));
  return await holdOpen({ lease, connect, store, interval, signal, isGone, ready });
}

/** The end of the keys' life is reckoned by the VM's own clock. */
async function letIn(lease: Lease, { visitors, forwarding }: DebugRequest, connect: Connect): Promise<void> {
  const seconds = Math.max(1, Math.ceil((lease.endsAt - Date.now()) / 1000));
  await changeRemoteFile(connect, { vm: lease.vm, mode: 'change', seconds }, ({ bytes, expiry = '' }) => {
    const lines = visitors.keys.map(({ line }) => authorizedLine(line, expiry, forwarding));
    return { bytes: lines.reduce(withKey, bytes), result: undefined };
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

async function destroy(lease: Lease, { destruction }: DebugRequest, context: DebugContext): Promise<void> {
  const { login, store, access, word } = context;
  say(`debug access to ${lease.vm} ends: the VM is destroyed`);
  const isDone = await endLease(lease, {
    paths: login.paths,
    store,
    access,
    command: destruction.command,
    event: 'debug-ended',
    word,
    patience: destroyTime - 30_000,
  });
  if (!isDone) say('somebody else destroys it, or has done so');
}

function limit(project: string, { id, holder, endsAt, freeAt }: Holding): MintError {
  const until = (time: number) => (time > 0 ? new Date(time).toISOString() : 'it ends');
  return new MintError(
    'debug-limit',
    `${project} has debug access open already: ${holder}, until ${until(endsAt)}`,
    {
      hint: `\`mint-ssh debug end ${id}\` ends it; without that, the project is free at ${until(freeAt)} at the latest`,
    },
  );
}

function interrupted(): MintError {
  return new MintError('io-failed', 'it was interrupted; nobody was let in');
}
