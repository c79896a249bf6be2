/** `mint-ssh agent`: runs it in the foreground, shows its state, ends it. */
import { closeSync, openSync, writeSync } from 'node:fs';
import { connectControl } from '../agent/control-client.ts';
import {
  type AgentReply,
  type AgentRequest,
  type AgentStatus,
  failureReply,
} from '../agent/control-protocol.ts';
import { alreadyRunning, runAgent } from '../agent/daemon.ts';
import type { Command, Invocation } from '../cli/command.ts';
import { print, say } from '../cli/terminal.ts';
import { type Paths, resolvePaths } from '../config/paths.ts';
import { MintError } from '../errors.ts';

export const command: Command = {
  usage: 'agent [status|stop]',
  help: `Without a word more: runs the agent here, in the foreground. Connections start one by themselves, so
there is seldom a need to.`,
  words: [
    ['status', 'says what it holds; exit status 1 where none runs'],
    ['stop', 'ends it; sessions that stand go on without it'],
  ],
  options: {
    json: { type: 'boolean', description: 'status as JSON' },
    background: { type: 'boolean', hidden: true },
  },
  run,
};

/** How long the agent may take to answer a person, in milliseconds. */
const answerLimit = 5000;

async function run({ positionals, values, globals }: Invocation): Promise<number> {
  const [word, ...more] = positionals;
  const paths = resolvePaths({ configDir: globals.configDir });
  if (more.length === 0 && word === undefined) return serve(paths, values['background'] === true);
  if (more.length === 0 && word === 'status') return showStatus(paths, values['json'] === true);
  if (more.length === 0 && word === 'stop') return stop(paths);
  throw new MintError('usage', `agent does not know ${JSON.stringify(positionals.join(' ').slice(0, 60))}`, {
    hint: `usage: mint-ssh ${command.usage}`,
  });
}

/** In the background its stderr is a pipe to the proxy that started it: closed when ready, or told why not. */
async function serve(paths: Paths, background: boolean): Promise<number> {
  if (!background) {
    const ran = await runAgent(paths, { ready: () => say(`the agent listens on ${paths.control}`) });
    if (!ran) throw alreadyRunning();
    return 0;
  }
  try {
    await runAgent(paths, { ready: leaveStderr });
    return 0;
  } catch (error) {
    writeSync(2, JSON.stringify(failureReply(error)));
    return 1;
  }
}

function leaveStderr(): void {
  closeSync(2);
  openSync('/dev/null', 'w');
}

async function showStatus(paths: Paths, json: boolean): Promise<number> {
  const reply = await ask(paths, { type: 'status' });
  const status = reply?.type === 'status' ? reply.status : undefined;
  if (json) print(JSON.stringify(status ?? null));
  else if (status === undefined) say('no agent runs');
  else print(describe(status));
  return status === undefined ? 1 : 0;
}

function describe({ pid, version, startedAt, connections, vms }: AgentStatus): string {
  const lines = vms.map((vm) => {
    const push =
      vm.pushSecondsLeft === undefined ? 'no live push' : `pushed, good for ${vm.pushSecondsLeft} s`;
    return `  ${vm.name}: ${count(vm.connections)}, ${vm.key === undefined ? 'no key' : push}`;
  });
  return [`agent ${version}, pid ${pid}, since ${startedAt}, ${count(connections)}`, ...lines].join('\n');
}

function count(connections: number): string {
  return connections === 1 ? '1 connection' : `${connections} connections`;
}

async function stop(paths: Paths): Promise<number> {
  const reply = await ask(paths, { type: 'stop' });
  say(reply === undefined ? 'no agent runs' : 'the agent ends');
  return 0;
}

/** One question to the agent; undefined where none runs. For `stop`, waits until it has gone. */
async function ask(paths: Paths, request: AgentRequest): Promise<AgentReply | undefined> {
  let answer: AgentReply | undefined;
  let finish: () => void = () => {};
  const finished = new Promise<void>((resolve) => {
    finish = resolve;
  });
  const connection = await connectControl(paths, {
    received: (reply) => {
      answer ??= reply;
      if (request.type !== 'stop') finish();
    },
    lost: () => finish(),
  });
  if (connection === undefined) return undefined;
  connection.send(request);
  const limit = setTimeout(finish, answerLimit);
  await finished;
  clearTimeout(limit);
  connection.close();
  if (answer === undefined) throw new MintError('agent-unavailable', 'the agent does not answer');
  if (answer.type === 'error') throw new MintError(answer.code, answer.message, { hint: answer.hint });
  return answer;
}
