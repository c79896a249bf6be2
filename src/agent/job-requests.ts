/** What `mint-ssh job` asks of the agent, done and answered. */
import type { JobReply, JobRequest } from './job-protocol.ts';
import type { Jobs } from './jobs.ts';
import type { Vms } from './vms.ts';

/** @throws MintError as the methods of `Jobs` */
export async function serveJob(request: JobRequest, jobs: Jobs, vms: Vms): Promise<JobReply> {
  switch (request.type) {
    case 'job-begin':
      return { type: 'job', job: await jobs.begin(request) };
    case 'job-set':
      return { type: 'job', job: jobs.set(request.name, request) };
    case 'job-end': {
      const job = jobs.end(request.name);
      await vms.removeSocket(job.name);
      return { type: 'job-ended', job };
    }
    case 'job-list':
      return { type: 'jobs', jobs: jobs.list() };
  }
}
