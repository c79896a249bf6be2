/** Jobs, as commands see them. */

import { MintError } from '../errors.ts';
import type { Paths } from '../platform/paths.ts';
import { readOpenJobs } from '../settings/open-jobs.ts';
import { askAgent, askRunningAgent } from './ask.ts';
import { type AgentReply, protocolVersion as version } from './control/protocol.ts';
import type { Job } from './job-protocol.ts';

export type { Job } from './job-protocol.ts';

export interface JobPlan {
  readonly name: string;
  /** On the job's VM. */
  readonly user: string;
  /** The public half of the host key that the VM will have, as it goes over the wire; it is pinned at once. */
  readonly hostKey: Buffer | undefined;
}

/**
 * Makes a job's key in the agent. @throws MintError `job-exists`, `bad-vm-name` for a name that is no VM's or is one's
 * already, `agent-unavailable`
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

/** Wipes key, pin and socket; of a job that was lost, what is left. @throws MintError `job-not-found` */
export async function endJob(paths: Paths, name: string): Promise<Job> {
  return jobOf(await askAgent(paths, { type: 'job-end', version, name }));
}

/** Starts no agent: without one every job is lost. */
export async function listJobs(paths: Paths): Promise<readonly Job[]> {
  const reply = await askRunningAgent(paths, { type: 'job-list', version });
  if (reply?.type === 'jobs') return reply.jobs;
  return readOpenJobs(paths).map((job) => ({ ...job, state: 'lost' as const }));
}

function jobOf(reply: AgentReply): Job {
  if (reply.type === 'job' || reply.type === 'job-ended') return reply.job;
  throw new MintError('agent-unavailable', 'the agent answers something else');
}
