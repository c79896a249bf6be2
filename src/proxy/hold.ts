/** Step 4: what the client sent behind its NEWKEYS waits until the agent's push has succeeded and is fresh. */
import type { AgentLink } from './agent-link.ts';
import type { KeysExchanged } from './key-exchange.ts';
import type { Timing } from './timing.ts';

/** Milliseconds; undefined where an earlier connection's push still served. */
export type PushTime = number | undefined;

/** @throws MintError: what Instance Connect said */
export async function releaseWhenPushed(
  { server, held }: KeysExchanged,
  agent: AgentLink,
  timing: Timing,
): Promise<PushTime> {
  const { pushMilliseconds } = await agent.pushed();
  timing.mark('held');
  // A server that went away meanwhile is found out, and told of, by the pipe that comes next.
  if (held.length > 0) await server.write(held).catch(() => {});
  return pushMilliseconds;
}
