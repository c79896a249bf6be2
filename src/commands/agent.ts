/** `mint-ssh agent`: runs it in the foreground, shows its state, ends it, has it started at login. */
import { closeSync, openSync, writeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { connectControl, readySign } from '../agent/control/client.ts';
import {
  type AgentReply,
  type AgentRequest,
  type AgentStatus,
  failureReply,
} from '../agent/control/protocol.ts';
import { alreadyRunning, runAgent } from '../agent/daemon.ts';
import type { Command, Invocation } from '../cli/command.ts';
import { print, say } from '../cli/terminal.ts';
import { MintError } from '../errors.ts';
import { type Paths, resolvePaths } from '../platform/paths.ts';
import { installAgent, uninstallAgent } from './agent-login.ts';

export const command: Command = {
  usage: 'agent [status|stop|install|uninstall]',
  help: `Without a word more: runs the agent here, in the foreground. Connections start one by themselves, so
there is seldom a need to.`,
  words: [
    ['status', 'says what it holds; exit status 1 where none runs'],
    ['stop', 'ends it; sessions that stand go on without it'],
    ['install', 'starts the agent at login: a systemd user unit, or a launchd agent on macOS'],
    ['uninstall', 'removes what install wrote'],
  ],
  options: {
    json: { type: 'boolean', description: 'status as JSON' },
    force: { type: 'boolean', description: 'stop, uninstall: even where the keys of jobs are lost with it' },
    stay: {
      type: 'boolean',
      description: 'do not end for want of connections; wait for one that runs already',
    },
    background: { type: 'boolean', hidden: true },
  },
  run,
};

/** How long the agent may take to answer a person, in milliseconds. */
const answerLimit = 5000;
/** How often one that stays looks whether it is its turn, in milliseconds. */
const turnInterval = 1000;

async function run({ positionals, values, globals }: Invocation): Promise<number> {
  const [word, ...more] = positionals;
  const paths = resolvePaths({ configDir: globals.configDir });
  if (more.length === 0 && word === undefined) {
    return values['stay'] === true ? stay(paths) : serve(paths, values['background'] === true);
  }
  if (more.length === 0 && word === 'status') return showStatus(paths, values['json'] === true);
  if (more.length === 0 && word === 'stop') return stop(paths, values['force'] === true);
  if (more.length === 0 && word === 'install') return installAgent(paths);
  if (more.length === 0 && word === 'uninstall') {
    return uninstallAgent(paths, () => ask(paths, { type: 'stop', force: values['force'] === true }));
  }
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
    await runAgent(paths, { ready: leaveStderr, isAwaited: true });
    return 0;
  } catch (error) {
    writeSync(2, JSON.stringify(failureReply(error)));
    return 1;
  }
}

/** From login to logout. The agent that a connection has started before goes its way first: it holds keys. */
async function stay(paths: Paths): Promise<number> {
  const ready = () => say(`the agent listens on ${paths.control}`);
  for (let isFirst = true; !(await runAgent(paths, { ready, stays: true })); isFirst = false) {
    if (isFirst) say('an agent runs already: this one takes its place when it ends');
    await sleep(turnInterval);
  }
  return 0;
}

function leaveStderr(): void {
  if (process.platform === 'win32') {
    writeSync(2, readySign);
    return;
  }
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

function describe({ pid, version, startedAt, connections, vms, jobs, unlockedKeys }: AgentStatus): string {
  const lines = vms.map((vm) => {
    const push =
      vm.pushSecondsLeft === undefined ? 'no live push' : `pushed, good for ${vm.pushSecondsLeft} s`;
    const refused =
      vm.forwardingRefused === undefined ? '' : `; \`ssh -A\` reached no agent: ${vm.forwardingRefused}`;
    return `  ${vm.name}: ${count(vm.connections)}, ${vm.key === undefined ? 'no key' : push}${refused}`;
  });
  if (jobs.length > 0) lines.push(`  keys of jobs: ${jobs.join(', ')}`);
  if (unlockedKeys.length > 0) lines.push(`  unlocked keys: ${unlockedKeys.join(', ')}`);
  return [`agent ${version}, pid ${pid}, since ${startedAt}, ${count(connections)}`, ...lines].join('\n');
}

function count(connections: number): string {
  return connections === 1 ? '1 connection' : `${connections} connections`;
}

async function stop(paths: Paths, force: boolean): Promise<number> {
  const reply = await ask(paths, { type: 'stop', force });
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
      if (request.type !== 'stop' || reply.type === 'error') finish();
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
