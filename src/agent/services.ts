import type { AwsWorkers } from '../aws/workers.ts';
import type { Paths } from '../config/paths.ts';
import type { TrustStore } from '../trust/store.ts';
import type { Log } from './log.ts';

/** What the parts of the agent share. */
export interface Services {
  readonly paths: Paths;
  readonly trust: TrustStore;
  readonly aws: AwsWorkers;
  readonly log: Log;
}
