/** Step 5: a plain pipe both candidates, each with its own end. */
import type { AgentLink } from './agent-link.ts';
import type { End } from './end.ts';

/**
 * An SSH login is a conversation: the client sends, the server answers, the client sends again. The first
 * turns are watched, not read: the second shows that the client accepted what the server signed, and a
 * conversation that is over within four is a login that was refused.
 */
const watchedTurns = 5;

export interface BridgeResult {
  /** The connection ended within the first turns of the login. */
  readonly early: boolean;
  /** What broke it; undefined where both sides just ended. */
  readonly failure: Error | undefined;
}

/** @param clientSpoke whether the client had said something behind its NEWKEYS that was held until now */
export async function bridge(
  client: End,
  server: End,
  agent: AgentLink,
  clientSpoke: boolean,
): Promise<BridgeResult> {
  const turns = new Turns(agent, clientSpoke ? 1 : 0);
  const down = forward(
    server,
    client,
    () => turns.over,
    () => turns.serverSpoke(),
  );
  const up = forward(
    client,
    server,
    () => turns.over,
    () => turns.clientSpoke(),
  );
  const results = await Promise.allSettled([endBoth(down, client, server), endBoth(up, client, server)]);
  const failed = results.find((result) => result.status === 'rejected');
  return { early: !turns.over, failure: failed?.reason as Error | undefined };
}

/** Bytes one way: chunk by chunk while the turns are watched, then as a pipe; its end is passed on. */
async function forward(from: End, to: End, isOver: () => boolean, spoke: () => void): Promise<void> {
  while (!isOver()) {
    const chunk = await from.read();
    if (chunk === undefined) {
      to.finish();
      return;
    }
    await to.write(chunk);
    spoke();
  }
  await from.pipeTo(to);
  to.finish();
}

/** A direction that breaks takes the other with it; one that ends does not. */
async function endBoth(direction: Promise<void>, client: End, server: End): Promise<void> {
  try {
    await direction;
  } catch (error) {
    client.destroy();
    server.destroy();
    throw error;
  }
}

class Turns {
  readonly #agent: AgentLink;
  #count: number;
  /** A client's first turn needs no answer before it. */
  #serverAnswered: boolean;

  constructor(agent: AgentLink, count: 0 | 1) {
    this.#agent = agent;
    this.#count = count;
    this.#serverAnswered = count === 0;
  }

  get over(): boolean {
    return this.#count >= watchedTurns;
  }

  /**
   * What comes before the client's first turn answers nothing: a server that does not own its key may send
   * anything behind NEWKEYS, and a client that notices then says goodbye. That goodbye is no second turn.
   */
  serverSpoke(): void {
    if (this.#count > 0) this.#serverAnswered = true;
  }

  clientSpoke(): void {
    if (!this.#serverAnswered) return;
    this.#serverAnswered = false;
    this.#count += 1;
    if (this.#count === 2 || this.over) this.#agent.proceeded();
  }
}
