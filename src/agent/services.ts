/** The context of the agent together with its parts, for the code that handles one connection. */
import type { BlockRefresh } from './block-refresh.ts';
import type { AgentContext } from './context.ts';
import type { HandedOverCredentials } from './credentials/handover.ts';
import type { ManagedKeys } from './credentials/managed-keys.ts';
import type { HostKeyChecks } from './host-key-check.ts';
import type { Jobs } from './jobs.ts';
import type { Starts } from './starts.ts';

/** A part listed here takes an `AgentContext` itself; it must not import this file. */
export interface Services extends AgentContext {
  readonly credentials: HandedOverCredentials;
  readonly hostKeyChecks: HostKeyChecks;
  readonly starts: Starts;
  readonly blocks: BlockRefresh;
  readonly managedKeys: ManagedKeys;
  readonly jobs: Jobs;
}
