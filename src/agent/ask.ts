/** One question of a command's to the agent. */
import { setTimeout as sleep } from 'node:timers/promises';
import { printable } from '../cli/terminal.ts';
import { MintError } from '../errors.ts';
import type { Paths } from '../platform/paths.ts';
import { type ControlConnection, type ControlListener, connectControl } from './control/client.ts';
import type { AgentReply, AgentRequest } from './control/protocol.ts';
import { connectOrStart } from './start.ts';

/** How long the agent may take to answer, in milliseconds. */
const answerLimit = 10_000;
/** How often one that goes at this moment is asked anew, and after how long, in milliseconds. */
const attempts = 5;
const pause = 100;

/**
 * Asks, and gives the answer; an agent is started where none runs.
 * @throws MintError what the agent answers, `agent-unavailable`, `unsafe-permissions`
 */
export async function askAgent(paths: Paths, request: AgentRequest): Promise<AgentReply> {
  const reply = await ask((listener) => connectOrStart(paths, listener), request);
  return reply ?? noAnswer();
}

/** The same where an agent runs; undefined where none does. */
export async function askRunningAgent(paths: Paths, request: AgentRequest): Promise<AgentReply | undefined> {
  return ask((listener) => connectControl(paths, listener), request);
}

type Connect = (listener: ControlListener) => Promise<ControlConnection | undefined>;

/** One that is killed still takes a connection for a moment, and one that makes way for us goes. */
async function ask(connect: Connect, request: AgentRequest): Promise<AgentReply | undefined> {
  for (let attempt = 1; attempt <= attempts; attempt += 1) {
    const reply = await askOnce(connect, request);
    if (reply === 'none') return undefined;
    if (reply !== 'gone') return reply;
    await sleep(pause);
  }
  return noAnswer();
}

/** `none`: there is no agent. `gone`: it went before it had answered. */
async function askOnce(connect: Connect, request: AgentRequest): Promise<AgentReply | 'none' | 'gone'> {
  const { promise, resolve, reject } = Promise.withResolvers<AgentReply | 'gone'>();
  const connection = await connect({
    received(reply) {
      if (reply.type !== 'superseded') resolve(reply);
    },
    lost: () => resolve('gone'),
  });
  if (connection === undefined) return 'none';
  const limit = setTimeout(() => reject(silent()), answerLimit);
  try {
    connection.send(request);
    const reply = await promise;
    if (reply !== 'gone' && reply.type === 'error') {
      throw new MintError(reply.code, printable(reply.message), { hint: reply.hint, unsafe: reply.unsafe });
    }
    return reply;
  } finally {
    clearTimeout(limit);
    connection.close();
  }
}

function noAnswer(): never {
  throw silent();
}

function silent(): MintError {
  return new MintError('agent-unavailable', 'the agent does not answer', { hint: 'mint-ssh agent stop' });
}
