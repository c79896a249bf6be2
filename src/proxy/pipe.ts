/** Copies bytes between client and server, each direction with its own end, and reports how the connection ended. */
import { setTimeout as sleep } from 'node:timers/promises';
import { say } from '../cli/terminal.ts';
import { MintError } from '../errors.ts';
import type { AgentClient } from './agent-client.ts';
import type { ByteStream } from './byte-stream.ts';
import { AgentRefusal } from './errors.ts';

/**
 * An SSH login is a conversation in turns: the client sends, the server answers, the client sends again. The proxy
 * counts the client's first turns but cannot read them. The second turn shows that the client accepted the host's
 * signature; a conversation that ends before the fifth was a refused login.
 */
const watchedTurns = 5;
/** How long the proxy waits at the end for the agent to explain a refusal. */
const explanationTimeoutMs = 500;

/** What the agent client learns from the turns. */
type LoginObserver = Pick<AgentClient, 'clientAcceptedHost' | 'prepareRefusal'> & {
  readonly refusalNotice: Pick<AgentClient['refusalNotice'], 'drop'>;
};

/** The agent answers in a millisecond; a login does not wait longer for words that it may not need. */
const preparationTimeoutMs = 100;

export interface PipeResult {
  /** The connection ended within the watched turns. */
  readonly isEarly: boolean;
  /** What broke the connection; undefined if both sides just ended. */
  readonly failure: Error | undefined;
}

/**
 * Copies bytes until both sides have ended.
 * @param clientSpoke whether the client's first turn was held until now and is sent already
 */
export async function pipe(
  client: ByteStream,
  server: ByteStream,
  agent: LoginObserver,
  clientSpoke: boolean,
): Promise<PipeResult> {
  const turns = new Turns(agent, clientSpoke ? 1 : 0);
  const down = copy(server, client, turns, () => turns.serverSpoke());
  const up = copy(client, server, turns, () => turns.clientSpoke());
  const results = await Promise.allSettled([endBoth(down, client, server), endBoth(up, client, server)]);
  const failed = results.find((result) => result.status === 'rejected');
  return { isEarly: !turns.areOver, failure: failed?.reason as Error | undefined };
}

/** One direction: chunk by chunk while the turns are counted, then as a pipe. It passes the end on. */
async function copy(from: ByteStream, to: ByteStream, turns: Turns, spoke: () => void): Promise<void> {
  while (!turns.areOver) {
    const chunk = await from.read();
    if (chunk === undefined) {
      to.finish();
      return;
    }
    await turns.ready;
    await to.write(chunk);
    spoke();
  }
  await from.pipeTo(to);
  to.finish();
}

/** A direction that breaks ends the other one; a direction that ends does not. */
async function endBoth(direction: Promise<void>, client: ByteStream, server: ByteStream): Promise<void> {
  try {
    await direction;
  } catch (error) {
    client.destroy();
    server.destroy();
    throw error;
  }
}

class Turns {
  readonly #agent: LoginObserver;
  #count: number;
  /** The client's first turn needs no answer before it. */
  #serverAnswered: boolean;

  constructor(agent: LoginObserver, count: 0 | 1) {
    this.#agent = agent;
    this.#count = count;
    this.#serverAnswered = count === 0;
  }

  /** Resolves when the words for a refusal are there: the server's answer, which may be one, waits for it. */
  ready: Promise<void> | undefined;

  get areOver(): boolean {
    return this.#count >= watchedTurns;
  }

  /**
   * Bytes before the client's first turn answer nothing: a server that does not own its key may send anything after
   * NEWKEYS, and a client that notices sends a disconnect message. That message must not count as a second turn.
   */
  serverSpoke(): void {
    if (this.#count > 0) this.#serverAnswered = true;
  }

  clientSpoke(): void {
    if (!this.#serverAnswered) return;
    this.#serverAnswered = false;
    this.#count += 1;
    if (this.#count === 2 || this.areOver) this.#agent.clientAcceptedHost();
    // The third is the first that may offer a key, after the service request and the `none` method.
    if (this.#count === 3 || this.#count === 4) {
      this.ready = Promise.race([this.#agent.prepareRefusal(), sleep(preparationTimeoutMs)]);
    }
    if (this.areOver) this.#agent.refusalNotice.drop();
  }
}

/**
 * Tells the user how the connection ended, if that is news.
 * @returns the exit status
 * @throws MintError `login-refused` if the VM refused the key; what the agent refused with; `io-failed`
 */
export async function reportEnd(
  { isEarly, failure }: PipeResult,
  vm: string,
  agent: AgentClient,
): Promise<number> {
  if (isEarly) {
    // If the agent has refused the connection during the login, its own error is the reason.
    const answer = await Promise.race([agent.refusal, agent.explainRefusal(), noExplanation()]).catch(
      (error: unknown) => {
        if (error instanceof AgentRefusal) throw error;
      },
    );
    // The new agent does not know what the old one has told the client.
    if (agent.hasLostAgent) {
      // SIGHUP may have arrived while the agent was asked: then the user has been told.
      if (!agent.refusalNotice.claim()) return 1;
      throw new MintError('agent-unavailable', `the agent ended during the login to ${vm}`, {
        hint: 'connect again: the next agent has another key',
      });
    }
    if (answer?.words !== undefined) {
      if (!agent.refusalNotice.claim()) return 1;
      const { code, message, hint } = answer.words;
      throw new MintError(code, message, { hint });
    }
  }
  const code = (failure as NodeJS.ErrnoException | undefined)?.code;
  // EPIPE: the client has gone, as after every Ctrl-C.
  if (failure === undefined || code === 'EPIPE') return 0;
  if (code === 'ECONNRESET' || code === 'ETIMEDOUT') {
    say(`the connection to ${vm} broke: ${code === 'ETIMEDOUT' ? 'it stopped answering' : 'it was reset'}`);
    return 1;
  }
  if (failure instanceof MintError) throw failure;
  throw new MintError('io-failed', `the connection to ${vm} broke: ${code ?? failure.message}`, {
    cause: failure,
  });
}

function noExplanation(): Promise<undefined> {
  return sleep(explanationTimeoutMs, undefined);
}
