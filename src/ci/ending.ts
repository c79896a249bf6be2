/** The end of a lease, whoever brings it about: the VM is destroyed once, then the project is free. */
import { setTimeout as sleep } from 'node:timers/promises';
import { hint, say } from '../cli/terminal.ts';
import { MintError } from '../errors.ts';
import { type AuditEvent, appendAudit } from '../platform/audit.ts';
import type { Paths } from '../platform/paths.ts';
import { readOpenJobs } from '../settings/open-jobs.ts';
import { type AwsAccess, destroyVm } from './destruction.ts';
import { endJobAndBlock } from './job-block.ts';
import { destroyTime, type Lease, thisHolder } from './lease.ts';
import type { LeaseStore } from './lease-store.ts';

export interface Ending {
  readonly paths: Paths;
  readonly store: LeaseStore;
  readonly access: Omit<AwsAccess, 'region'>;
  /** For a lease whose VM is destroyed by one. */
  readonly command: string | undefined;
  readonly event: Extract<AuditEvent, 'debug-ended' | 'debug-reaped'>;
  /** The words behind `mint-ssh`. */
  readonly word: string;
  /** For how long a destruction that fails is tried again, in milliseconds. */
  readonly patience: number;
}

const pause = 5_000;

/**
 * Destroys the VM of a lease, unless someone else does so at this moment or has done so. What fails leaves the lease as
 * it is, for a reaper; the end that is armed on the VM does not ask anybody.
 *
 * @returns whether it was done here @throws MintError why the VM could not be destroyed
 */
export async function endLease(lease: Lease, ending: Ending): Promise<boolean> {
  const { paths, store, access, command, event, word, patience } = ending;
  const now = Date.now();
  if (lease.destroy.kind === 'command' && command === undefined) await destroyVm(lease, command, access);
  if (!(await store.beginEnd(lease.id, thisHolder(), now, now + destroyTime))) return false;
  try {
    await destroyPatiently(lease, ending, performance.now() + patience);
  } finally {
    await forgetJob(paths, lease);
  }
  // Before the lease is closed: whoever is killed in between has said what was done, if not that it was all.
  const { id, project, vm, user, destroy } = lease;
  const instance = destroy.kind === 'command' ? undefined : destroy.instance;
  appendAudit(paths, { event, command: word, vm, instance, user, lease: id, project });
  await store.close(lease);
  return true;
}

async function destroyPatiently(lease: Lease, { access, command }: Ending, deadline: number): Promise<void> {
  for (;;) {
    try {
      return await destroyVm(lease, command, access);
    } catch (error) {
      if (performance.now() + pause > deadline) throw error;
      const { message } = error as Error;
      say(`${lease.vm} is not destroyed yet: ${message}`);
      await sleep(pause);
    }
  }
}

/** The job's key, pin and block, where the job is one of this machine's. What stays is said, and holds nothing up. */
async function forgetJob(paths: Paths, { vm, host, port }: Lease): Promise<void> {
  try {
    const job = readOpenJobs(paths).find(({ name }) => name === vm);
    // Another VM may have the name by now.
    if (job?.host !== host || job.port !== port) return;
    await endJobAndBlock(paths, vm);
  } catch (error) {
    if (!(error instanceof MintError)) throw error;
    if (error.code === 'job-not-found') return;
    say(`the job ${vm} is not ended: ${error.message} (${error.code})`);
    hint(`mint-ssh job end ${vm}`);
  }
}
