/** `mint-ssh agent`: runs the agent in the foreground, shows its status, stops it, or installs it to start at login. */

import { writeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { connectControl, readySign } from '../agent/control/client.ts';
import {
  type AgentReply,
  type AgentRequest,
  type AgentStatus,
  failureReply,
} from '../agent/control/protocol.ts';
import { alreadyRunning, runAgent } from '../agent/daemon.ts';
import { checkSubcommand } from '../cli/arguments.ts';
import type { Command, Invocation } from '../cli/command.ts';
import { print, printJson, say } from '../cli/terminal.ts';
import { isoTime, shownTime } from '../cli/time.ts';
import { MintError } from '../errors.ts';
import { type Paths, resolvePaths } from '../platform/paths.ts';
import { system } from '../platform/system/system.ts';
import { installAgent, uninstallAgent } from './agent-login.ts';

export const command: Command = {
  usage: 'agent [status|stop|install|uninstall]',
  help: `Without a subcommand, runs the agent in the foreground. This is seldom needed: a connection starts the agent when
none is running.`,
  words: [
    ['status', 'show what the agent holds; exit status 1 if it is not running', ['json']],
    ['stop', 'stop the agent; open sessions continue', ['force']],
    ['install', 'start the agent at login: a systemd user unit, or a launchd agent on macOS', []],
    ['uninstall', 'remove what install added', ['force']],
  ],
  options: {
    json: { type: 'boolean', description: 'print JSON: see docs/json.md' },
    force: { type: 'boolean', description: 'even if the keys of open jobs are lost' },
    stay: {
      type: 'boolean',
      description: 'do not exit when idle; if an agent is running, wait for it to end',
    },
    background: { type: 'boolean', hidden: true },
  },
  run,
};

/** How long `status` and `stop` wait for the agent's answer. */
const answerTimeoutMs = 5000;
/** How often an agent with `--stay` checks whether the running agent has ended. */
const pollIntervalMs = 1000;

async function run({ positionals, values, globals }: Invocation): Promise<number> {
  const [word, ...more] = positionals;
  const paths = resolvePaths({ configDir: globals.configDir });
  if (word !== undefined) checkSubcommand(command, word, values);
  if (word === undefined) {
    return values['stay'] === true ? stay(paths) : serve(paths, values['background'] === true);
  }
  if (more.length === 0 && word === 'status') return showStatus(paths, values['json'] === true);
  if (more.length === 0 && word === 'stop') return stop(paths, values['force'] === true);
  if (more.length === 0 && word === 'install') return installAgent(paths);
  if (more.length === 0 && word === 'uninstall') {
    return uninstallAgent(paths, () => ask(paths, { type: 'stop', force: values['force'] === true }));
  }
  throw new MintError('usage', `too many arguments for agent ${word}`, {
    hint: `usage: mint-ssh ${command.usage}`,
  });
}

/**
 * Runs the agent. With `background`, stderr is a pipe to the proxy that started the agent: the agent closes the pipe when
 * it is ready, or writes the error to it.
 */
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

/** Runs from login to logout. Waits for an agent that a connection has started, because that agent holds keys. */
async function stay(paths: Paths): Promise<number> {
  const ready = () => say(`the agent listens on ${paths.control}`);
  for (let isFirst = true; !(await runAgent(paths, { ready, stays: true })); isFirst = false) {
    if (isFirst) say('another agent is running; this one starts when it ends');
    await sleep(pollIntervalMs);
  }
  return 0;
}

function leaveStderr(): void {
  if (!system.closeStandardOutput(2)) writeSync(2, readySign);
}

async function showStatus(paths: Paths, json: boolean): Promise<number> {
  const reply = await ask(paths, { type: 'status' });
  const status = reply?.type === 'status' ? reply.status : undefined;
  if (json) printJson(status === undefined ? null : toJson(status));
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
  return [
    `agent ${version}, pid ${pid}, since ${shownTime(startedAt)}, ${count(connections)}`,
    ...lines,
  ].join('\n');
}

function toJson({ pid, version, startedAt, connections, jobs, unlockedKeys, vms }: AgentStatus) {
  return {
    pid,
    version,
    started_at: isoTime(startedAt),
    connections,
    jobs,
    unlocked_keys: unlockedKeys,
    vms: vms.map((vm) => ({
      vm: vm.name,
      socket: vm.socket,
      connections: vm.connections,
      public_key: vm.key ?? null,
      push_seconds_left: vm.pushSecondsLeft ?? null,
      forwarding_refused: vm.forwardingRefused ?? null,
    })),
  };
}

function count(connections: number): string {
  return connections === 1 ? '1 connection' : `${connections} connections`;
}

async function stop(paths: Paths, force: boolean): Promise<number> {
  const reply = await ask(paths, { type: 'stop', force });
  say(reply === undefined ? 'no agent runs' : 'the agent ends');
  return 0;
}

/**
 * Sends one request to the agent; for `stop`, waits until it has ended.
 * @returns undefined if no agent is running
 */
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
  const limit = setTimeout(finish, answerTimeoutMs);
  await finished;
  clearTimeout(limit);
  connection.close();
  if (answer === undefined) throw new MintError('agent-unavailable', 'the agent does not answer');
  if (answer.type === 'error') throw new MintError(answer.code, answer.message, { hint: answer.hint });
  return answer;
}
