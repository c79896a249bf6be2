/** Step 4: what the client sent behind its NEWKEYS waits until the agent's push has succeeded and is fresh. */
import type { AgentLink } from './agent-link.ts';
import type { KeysExchanged } from './key-exchange.ts';
import type { Timing } from './timing.ts';

/** @throws MintError: what Instance Connect said */
export async function releaseWhenPushed(
  { server, held }: KeysExchanged,
  agent: AgentLink,
  timing: Timing,
): Promise<{ readonly pushMilliseconds: number | undefined }> {
  const { pushMilliseconds } = await agent.pushed();
  timing.mark('held');
  if (held.length > 0) await server.write(held);
  return { pushMilliseconds };
}
