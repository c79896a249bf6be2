/**
 * Jobs, as commands see them: what they ask of the agent, and the job's Host block, by which plain `ssh NAME` reaches its
 * VM. The block is written and removed without asking where the user's config already includes ours, and never in place
 * of a name that means something else.
 */
import { join } from 'node:path';
import { askAgent, askRunningAgent } from '../agent/control/client.ts';
import type { Job } from '../agent/control/protocol.ts';
import { type AgentReply, protocolVersion as version } from '../agent/control/protocol.ts';
import { MintError } from '../errors.ts';
import { ensureClosedDirectory } from '../platform/files.ts';
import { acquireLock } from '../platform/lock.ts';
import type { Paths } from '../platform/paths.ts';
import { writtenNames } from '../settings/approved-names.ts';
import { readOpenJobs } from '../settings/open-jobs.ts';
import { loadSettings } from '../settings/settings.ts';
import { carryOut, planWriting } from '../ssh-config/apply.ts';
import { includingConfig } from '../ssh-config/installed-include.ts';
import { planBlocks } from '../vms/block-plan.ts';

export type { Job } from '../agent/control/protocol.ts';

export interface JobPlan {
  readonly name: string;
  /** On the job's VM. */
  readonly user: string;
  /** The public half of the host key that the VM will have, as a blob (RFC 4253 section 6.6); it is pinned at once. */
  readonly hostKey: Buffer | undefined;
}

/**
 * Makes a job's key in the agent.
 *
 * @throws MintError `job-exists`, `bad-vm-name` for a name that cannot be a VM's or already is one's, `agent-unavailable`
 */
export async function beginJob(paths: Paths, { name, user, hostKey }: JobPlan): Promise<Job> {
  const blob = hostKey?.toString('base64');
  return jobOf(await askAgent(paths, { type: 'job-begin', version, name, user, hostKey: blob }));
}

/** Says where the job's VM is. @throws MintError `job-not-found`, `job-lost`, `bad-settings` */
export async function setJob(
  paths: Paths,
  place: { readonly name: string; readonly host: string; readonly port?: number | undefined },
): Promise<Job> {
  const { name, host, port } = place;
  return jobOf(await askAgent(paths, { type: 'job-set', version, name, host, port }));
}

/** Wipes key, pin and socket; for a lost job, what is left of them. @throws MintError `job-not-found` */
export async function endJob(paths: Paths, name: string): Promise<Job> {
  return jobOf(await askAgent(paths, { type: 'job-end', version, name }));
}

/** Starts no agent: without one, every job is lost. */
export async function listJobs(paths: Paths): Promise<readonly Job[]> {
  const reply = await askRunningAgent(paths, { type: 'job-list', version });
  if (reply?.type === 'jobs') return reply.jobs;
  return readOpenJobs(paths).map((job) => ({ ...job, state: 'lost' as const }));
}

function jobOf(reply: AgentReply): Job {
  if (reply.type === 'job' || reply.type === 'job-ended') return reply.job;
  throw new MintError('agent-unavailable', 'the agent gave an unexpected answer');
}

export type JobBlock =
  | { readonly kind: 'written' }
  /** The user's config does not include ours. */
  | { readonly kind: 'not-included' }
  /** The name means something else to the user's ssh. */
  | { readonly kind: 'taken'; readonly reason: string };

const lockMs = 10_000;

/**
 * Ends the job, with its block. The block goes first: a process that is killed in between leaves a job, which can be ended
 * again, and not a block without a job.
 *
 * @throws MintError `job-not-found`; as `refreshJobBlock`, when the job is ended
 */
export async function endJobAndBlock(paths: Paths, name: string): Promise<Job> {
  if (readOpenJobs(paths).some((job) => job.name === name)) {
    // What fails here fails below as well, and is told there. The job's key is wiped all the same.
    await refreshJobBlock(paths, name, 'ending').catch(() => undefined);
  }
  const ended = await endJob(paths, name);
  // Meanwhile another job's begin may have written the block again.
  await refreshJobBlock(paths, name);
  return ended;
}

/**
 * Writes a block for each open job; `name` is the one that began, changed or ended.
 *
 * @throws MintError `io-failed`, `unsafe-permissions`, `ssh-config-unsafe`
 */
export async function refreshJobBlock(
  paths: Paths,
  name: string,
  state: 'open' | 'ending' = 'open',
): Promise<JobBlock> {
  ensureClosedDirectory(paths.run);
  // Of jobs that begin at the same time, each has to see what the one before has written. Without the lock in time, go on.
  const lock = acquireLock(join(paths.run, 'job-blocks.lock'), { waitMilliseconds: lockMs });
  try {
    return await refresh(paths, name, state === 'ending' ? name : undefined);
  } finally {
    lock?.release();
  }
}

async function refresh(paths: Paths, name: string, ending: string | undefined): Promise<JobBlock> {
  const including = includingConfig(paths);
  if (including === undefined) return { kind: 'not-included' };
  // Every name keeps its block, except that of a job that has ended.
  const kept = [...writtenNames(paths).all].filter((written) => written !== name);
  const plan = await planBlocks({
    paths,
    settings: loadSettings(paths, {}),
    ...including,
    found: new Map(kept.map((written) => [written, { found: 'tag' as const }])),
    ending,
    named: [],
    approve: async () => false,
  });
  const change = planWriting(paths, including.userConfig, plan);
  const { before, after } = change.user;
  const isUntouched = before !== undefined && after !== undefined && before.equals(after);
  if (!isUntouched || change.blocks.before === undefined) return { kind: 'not-included' };
  carryOut(change);
  const reason = plan.leftOut.get(name);
  return reason === undefined ? { kind: 'written' } : { kind: 'taken', reason };
}
