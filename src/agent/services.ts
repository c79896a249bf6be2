import type { AwsWorkers } from '../aws/workers.ts';
import type { Paths } from '../platform/paths.ts';
import type { TrustStore } from '../trust/store.ts';
import type { LastAddresses } from '../vms/last-address.ts';
import type { Names } from '../vms/names.ts';
import type { BlockRefresh } from './block-refresh.ts';
import type { HostTrust } from './host-trust.ts';
import type { Jobs } from './jobs.ts';
import type { Log } from './log.ts';
import type { ManagedKeys } from './managed-keys.ts';
import type { Starts } from './starts.ts';

/** What it takes to decide about a host key. */
export type TrustServices = Pick<Services, 'trust' | 'aws' | 'log'>;

/** What the parts of the agent share. */
export interface Services {
  readonly paths: Paths;
  readonly trust: TrustStore;
  readonly aws: AwsWorkers;
  readonly log: Log;
  readonly hostTrust: HostTrust;
  readonly names: Names;
  readonly starts: Starts;
  readonly blocks: BlockRefresh;
  readonly managedKeys: ManagedKeys;
  readonly jobs: Jobs;
  readonly lastAddresses: LastAddresses;
}
