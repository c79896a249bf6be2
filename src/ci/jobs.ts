/**
 * Jobs for the commands: requests to the agent, and the job's Host block, with which plain `ssh NAME` reaches the VM. The
 * block is written and removed without a prompt if the user's config already includes ours, but never for a name that
 * refers to another host.
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
  /** The user on the job's VM. */
  readonly user: string;
  /** The public host key blob (RFC 4253 §6.6) that the VM will have. It is pinned at once. */
  readonly hostKey: Buffer | undefined;
}

/**
 * Makes a job's key in the agent.
 *
 * @throws MintError `job-exists`, `bad-vm-name` for an invalid name or the name of a VM, `agent-unavailable`
 */
export async function beginJob(paths: Paths, { name, user, hostKey }: JobPlan): Promise<Job> {
  const blob = hostKey?.toString('base64');
  return jobOf(await askAgent(paths, { type: 'job-begin', version, name, user, hostKey: blob }));
}

/**
 * Sets the address of the job's VM.
 *
 * @throws MintError `job-not-found`, `job-lost`, `bad-settings`
 */
export async function setJob(
  paths: Paths,
  place: { readonly name: string; readonly host: string; readonly port?: number | undefined },
): Promise<Job> {
  const { name, host, port } = place;
  return jobOf(await askAgent(paths, { type: 'job-set', version, name, host, port }));
}

/**
 * Removes the job's key, pin and socket, or what is left of them if the job was lost.
 *
 * @throws MintError `job-not-found`
 */
export async function endJob(paths: Paths, name: string): Promise<Job> {
  return jobOf(await askAgent(paths, { type: 'job-end', version, name }));
}

/** Lists the open jobs. It starts no agent: without one, every job is lost. */
export async function listJobs(paths: Paths): Promise<readonly Job[]> {
  const reply = await askRunningAgent(paths, { type: 'job-list', version });
  if (reply?.type === 'jobs') return reply.jobs;
  return readOpenJobs(paths).map((job) => ({ ...job, state: 'lost' as const }));
}

function jobOf(reply: AgentReply): Job {
  if (reply.type === 'job' || reply.type === 'job-ended') return reply.job;
  throw new MintError('agent-unavailable', 'unexpected answer from the agent');
}

export type JobBlock =
  | { readonly kind: 'written' }
  /** The user's config does not include our file. */
  | { readonly kind: 'not-included' }
  /** The name refers to another host in the user's ssh config. */
  | { readonly kind: 'taken'; readonly reason: string };

const lockMs = 10_000;

/**
 * Removes the job's block, and then ends the job. If the process is killed in between, the job can be ended again; in the
 * other order, a block without a job would be left.
 *
 * @throws MintError `job-not-found`; `io-failed`, `unsafe-permissions` or `ssh-config-unsafe` after the job has ended, if
 *   the block could not be removed
 */
export async function endJobAndBlock(paths: Paths, name: string): Promise<Job> {
  if (readOpenJobs(paths).some((job) => job.name === name)) {
    // A failure here repeats below, where it is reported. The job's key must be removed in any case.
    await refreshJobBlock(paths, name, 'ending').catch(() => undefined);
  }
  const ended = await endJob(paths, name);
  // Another `job begin` may have written the block again in the meantime.
  await refreshJobBlock(paths, name);
  return ended;
}

/**
 * Writes a block for each open job.
 *
 * @param name the job that began, changed or ended
 * @throws MintError `io-failed`, `unsafe-permissions`, `ssh-config-unsafe`
 */
export async function refreshJobBlock(
  paths: Paths,
  name: string,
  state: 'open' | 'ending' = 'open',
): Promise<JobBlock> {
  ensureClosedDirectory(paths.run);
  // Jobs that begin at the same time must see each other's blocks. If the lock is not free in time, continue without it.
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
  // Every name keeps its block, except that of an ended job.
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
