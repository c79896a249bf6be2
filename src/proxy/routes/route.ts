import type { TunnelReply } from '../../aws/requests.ts';
import type { Candidate } from '../../vms/candidates.ts';
import type { Address } from '../../vms/last-address.ts';
import type { ByteStream } from '../byte-stream.ts';

export interface DialRequest {
  readonly vm: string;
  readonly port: number;
  /** The run directory, by which the sockets of our agent are known. */
  readonly runDir: string;
  /** How long it may take, from now. */
  readonly timeoutMs: number;
  /** Asks the agent for a tunnel through an EC2 Instance Connect Endpoint. */
  readonly tunnel: () => Promise<TunnelReply>;
  /** A connection that was begun before the agent had named a target. */
  readonly early: EarlyConnection | undefined;
}

export interface EarlyConnection {
  /** @returns the connection if it goes to this address; undefined if another one has to be made */
  take(address: Address, signal: AbortSignal): Promise<ByteStream | undefined>;
}

/**
 * One way to reach a VM. A new one is a file in this folder, its kind in `Candidate`, and its line in connect.ts.
 */
export interface Route {
  /** How long the better candidates are dialled alone, in milliseconds; less if all of them fail sooner. */
  headStartMs(candidate: Candidate, previous: Candidate | undefined): number;
  /**
   * Connects to the candidate.
   * @param signal aborted when the connection is no longer wanted
   * @throws MintError `dial-failed` or what the route's own service says
   */
  dial(candidate: Candidate, request: DialRequest, signal: AbortSignal): Promise<ByteStream>;
}
