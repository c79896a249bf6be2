/**
 * Plain values that every part of the agent may use. This file imports no part of the agent, so any part can import
 * it without a circle.
 */
import type { Aws } from '../aws/aws.ts';
import type { Paths } from '../platform/paths.ts';
import type { TrustStore } from '../trust/store.ts';
import type { LastAddresses } from '../vms/last-address.ts';
import type { Names } from '../vms/names.ts';
import type { Log } from './log.ts';

export interface AgentContext {
  readonly paths: Paths;
  readonly log: Log;
  readonly aws: Aws;
  readonly trust: TrustStore;
  readonly names: Names;
  readonly lastAddresses: LastAddresses;
}
