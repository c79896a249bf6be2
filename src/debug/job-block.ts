/**
 * The Host block of a job, so that plain `ssh NAME` reaches it: written and removed without a question where our
 * blocks are brought in already, and never in the place of a name that means something else.
 */
import { join } from 'node:path';
import { writtenNames } from '../config/approved-names.ts';
import { ensureClosedDirectory } from '../config/files.ts';
import { includingConfig } from '../config/including-config.ts';
import { acquireLock } from '../config/lock.ts';
import type { Paths } from '../config/paths.ts';
import { loadSettings } from '../config/settings.ts';
import { carryOut, planWriting } from '../config/ssh-config-change.ts';
import { planBlocks } from '../names/block-plan.ts';

export type JobBlock =
  | { readonly kind: 'written' }
  /** ssh_config is not brought in by the user's config. */
  | { readonly kind: 'not-included' }
  /** The name means something else to the user's ssh. */
  | { readonly kind: 'taken'; readonly reason: string };

const lockMilliseconds = 10_000;

/**
 * Brings our blocks in line with the jobs that are open; `name` is the one that began, changed or ended.
 * @throws MintError `io-failed`, `unsafe-permissions`, `ssh-config-unsafe`
 */
export async function refreshJobBlock(paths: Paths, name: string): Promise<JobBlock> {
  ensureClosedDirectory(paths.run);
  // Jobs begin in dozens: each has to see what the one before has written. Without it in time, they go on all the same.
  const lock = acquireLock(join(paths.run, 'job-blocks.lock'), { waitMilliseconds: lockMilliseconds });
  try {
    return await refresh(paths, name);
  } finally {
    lock?.release();
  }
}

async function refresh(paths: Paths, name: string): Promise<JobBlock> {
  const including = includingConfig(paths);
  if (including === undefined) return { kind: 'not-included' };
  // What has a block keeps it, but for a job that has ended.
  const kept = [...writtenNames(paths).all].filter((written) => written !== name);
  const { text, leftOut } = await planBlocks({
    paths,
    settings: loadSettings(paths, {}),
    ...including,
    found: new Map(kept.map((written) => [written, { found: 'tag' as const }])),
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
