import type { AgentClient } from './agent-client.ts';
import type { ByteStream } from './byte-stream.ts';
import type { Timing } from './timing.ts';

/**
 * Waits until the VM accepts the key, then sends what the client has sent after its NEWKEYS.
 * @param held the client's bytes after its NEWKEYS
 * @returns how long the push took, in milliseconds; undefined if an earlier push is still valid
 * @throws MintError `push-failed`, `aws-…` and others: why the agent cannot authorize the key
 */
export async function passWhenPushed(
  held: Buffer,
  server: ByteStream,
  agent: AgentClient,
  timing: Timing,
): Promise<number | undefined> {
  const { pushMilliseconds } = await agent.pushed();
  timing.mark('held');
  // If the server has gone meanwhile, the pipe notices and reports it.
  if (held.length > 0) await server.write(held).catch(() => {});
  return pushMilliseconds;
}
