/** What `mint-ssh job` and the agent say to each other over `run/control.sock`. */
import type { OpenJob } from '../../settings/open-jobs.ts';
import { type Fields, number, optional, portNumber, text } from './fields.ts';

/** A job, and whether the agent has its key, which is nowhere else. */
export interface Job extends OpenJob {
  /** `lost`: the agent that held its key has ended. */
  readonly state: 'open' | 'lost';
}

/** Each names the sender's `protocolVersion`. */
export type JobRequest =
  | {
      readonly type: 'job-begin';
      readonly version: number;
      readonly name: string;
      readonly user: string;
      /** The public half of the host key that the VM will have, in base64. */
      readonly hostKey: string | undefined;
    }
  | {
      readonly type: 'job-set';
      readonly version: number;
      readonly name: string;
      /** An address or a host name. */
      readonly host: string;
      /** Undefined leaves it as it is; it is 22 at first. */
      readonly port: number | undefined;
    }
  | { readonly type: 'job-end'; readonly version: number; readonly name: string }
  | { readonly type: 'job-list'; readonly version: number };

export type JobReply =
  /** For `job-begin` and `job-set`. */
  | { readonly type: 'job'; readonly job: Job }
  | { readonly type: 'job-ended'; readonly job: Job }
  | { readonly type: 'jobs'; readonly jobs: readonly Job[] };

/**
 * @returns undefined for a request that is not about jobs
 * @throws MintError `agent-unavailable` for a malformed one
 */
export function parseJobRequest(fields: Fields): JobRequest | undefined {
  const version = () => number(fields, 'version');
  const name = () => text(fields, 'name');
  switch (fields['type']) {
    case 'job-begin':
      return {
        type: 'job-begin',
        version: version(),
        name: name(),
        user: text(fields, 'user'),
        hostKey: optional(fields, 'hostKey', text),
      };
    case 'job-set':
      return {
        type: 'job-set',
        version: version(),
        name: name(),
        host: text(fields, 'host'),
        port: optional(fields, 'port', portNumber),
      };
    case 'job-end':
      return { type: 'job-end', version: version(), name: name() };
    case 'job-list':
      return { type: 'job-list', version: version() };
    default:
      return undefined;
  }
}
