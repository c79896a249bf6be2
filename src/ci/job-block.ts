/**
 * The Host block of a job, so that plain `ssh NAME` reaches it: written and removed without a question where our
 * blocks are brought in already, and never in the place of a name that means something else.
 */
import { join } from 'node:path';
import { endJob, type Job } from '../agent/job-client.ts';
import { ensureClosedDirectory } from '../platform/files.ts';
import { acquireLock } from '../platform/lock.ts';
import type { Paths } from '../platform/paths.ts';
import { writtenNames } from '../settings/approved-names.ts';
import { readOpenJobs } from '../settings/open-jobs.ts';
import { loadSettings } from '../settings/settings.ts';
import { carryOut, planWriting } from '../ssh-config/apply.ts';
import { includingConfig } from '../ssh-config/installed-include.ts';
import { planBlocks } from '../vms/block-plan.ts';

export type JobBlock =
  | { readonly kind: 'written' }
  /** ssh_config is not brought in by the user's config. */
  | { readonly kind: 'not-included' }
  /** The name means something else to the user's ssh. */
  | { readonly kind: 'taken'; readonly reason: string };

const lockMilliseconds = 10_000;

/**
 * Ends the job, with its block. The block goes first: whoever is killed in between leaves a job, which can be ended once
 * more, and not a block that belongs to nobody.
 *
 * @throws MintError `job-not-found`; as `refreshJobBlock`, when the job is ended
 */
export async function endJobAndBlock(paths: Paths, name: string): Promise<Job> {
  if (readOpenJobs(paths).some((job) => job.name === name)) {
    // What fails here fails below as well, and is told there: it is no reason to keep the job's key.
    await refreshJobBlock(paths, name, 'ending').catch(() => undefined);
  }
  const ended = await endJob(paths, name);
  // Another job's beginning may have brought it back meanwhile.
  await refreshJobBlock(paths, name);
  return ended;
}

/**
 * Brings our blocks in line with the jobs that are open; `name` is the one that began, changed or ended.
 * @throws MintError `io-failed`, `unsafe-permissions`, `ssh-config-unsafe`
 */
export async function refreshJobBlock(
  paths: Paths,
  name: string,
  state: 'open' | 'ending' = 'open',
): Promise<JobBlock> {
  ensureClosedDirectory(paths.run);
  // Jobs begin in dozens: each has to see what the one before has written. Without it in time, they go on all the same.
  const lock = acquireLock(join(paths.run, 'job-blocks.lock'), { waitMilliseconds: lockMilliseconds });
  try {
    return await refresh(paths, name, state === 'ending' ? name : undefined);
  } finally {
    lock?.release();
  }
}

async function refresh(paths: Paths, name: string, ending: string | undefined): Promise<JobBlock> {
  const including = includingConfig(paths);
  if (including === undefined) return { kind: 'not-included' };
  // What has a block keeps it, but for a job that has ended.
  const kept = [...writtenNames(paths).all].filter((written) => written !== name);
  const { text, leftOut } = await planBlocks({
    paths,
    settings: loadSettings(paths, {}),
    ...including,
    found: new Map(kept.map((written) => [written, { found: 'tag' as const }])),
    ending,
    named: [],
    approve: async () => false,
  });
  const change = planWriting(paths, including.userConfig, text);
  const { before, after } = change.user;
  const isUntouched = before !== undefined && after !== undefined && before.equals(after);
  if (!isUntouched || change.blocks.before === undefined) return { kind: 'not-included' };
  carryOut(change);
  const reason = leftOut.get(name);
  return reason === undefined ? { kind: 'written' } : { kind: 'taken', reason };
}
