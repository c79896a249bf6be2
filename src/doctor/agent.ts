/** Checks the agent of mint-ssh and the user's own agent. */
import { lstatSync } from 'node:fs';
import net from 'node:net';
import { connectControl } from '../agent/control/client.ts';
import type { AgentStatus } from '../agent/control/protocol.ts';
import { quoted } from '../platform/files.ts';
import type { Paths } from '../platform/paths.ts';
import { hasForwardSockets } from '../platform/sockets.ts';
import { isOurs, noUpstream, upstreamSocket } from '../platform/user-agent-socket.ts';
import { effectiveConfig } from '../ssh-config/ssh-client.ts';
import { identityAgentOf, otherName } from '../ssh-config/user-effective-config.ts';
import { version } from '../version.ts';
import { type Finding, fail, ok, warn } from './check.ts';
import type { CheckContext } from './context.ts';

/** The time limit for an agent's answer, in milliseconds. */
const answerLimit = 5_000;

/** @throws MintError `unsafe-permissions`, `agent-unavailable` */
export async function checkAgent(paths: Paths): Promise<readonly Finding[]> {
  const status = await askStatus(paths);
  if (status === 'none') return [ok('not running: the next connection starts it')];
  if (status === 'silent') {
    return [fail('the agent does not answer (agent-unavailable)', `its log: ${quoted(paths.agentLog)}`)];
  }
  const { pid, connections } = status;
  if (status.version !== version) {
    return [
      warn(
        `the running agent is ${status.version}, this is mint-ssh ${version}`,
        'mint-ssh agent stop; the next connection starts the new one',
      ),
    ];
  }
  return [ok(`${version} runs as pid ${pid}, connections: ${connections}`)];
}

async function askStatus(paths: Paths): Promise<AgentStatus | 'none' | 'silent'> {
  let answer: (status: AgentStatus | 'silent') => void = () => {};
  const answered = new Promise<AgentStatus | 'silent'>((resolve) => {
    answer = resolve;
  });
  const connection = await connectControl(paths, {
    received: (reply) => {
      if (reply.type === 'status') answer(reply.status);
    },
    lost: () => answer('silent'),
  });
  if (connection === undefined) return 'none';
  const limit = setTimeout(() => answer('silent'), answerLimit);
  connection.send({ type: 'status' });
  const status = await answered;
  clearTimeout(limit);
  connection.close();
  return status;
}

/** Checks agent forwarding: our socket for `ssh -A`, and the user's own agent behind it. */
export async function checkForwarding(context: CheckContext): Promise<readonly Finding[]> {
  if (!hasForwardSockets) return [await judgeWindowsAgent(context)];
  return [...placeholder(context.paths), await judgeOwnAgent(context)];
}

function placeholder({ sshConfig, forward }: Paths): readonly Finding[] {
  if (lstatSync(sshConfig, { throwIfNoEntry: false }) === undefined || isPlaceholder(forward)) return [];
  const message = `${quoted(forward)} is missing: every login prints an error about it`;
  return [warn(message, 'mint-ssh ssh-config --yes')];
}

async function judgeOwnAgent(context: CheckContext): Promise<Finding> {
  const { run } = context.paths;
  const [name, path] = await namedAgent(context);
  if (!path) return ok('you have no agent: neither upstream_agent in ssh.toml nor SSH_AUTH_SOCK is set');
  if (path === noUpstream) return ok('no agent: your ssh config has IdentityAgent none');
  if (isOurs(path, run)) {
    return warn(
      `${name} is a socket of mint-ssh, not of your own agent`,
      'set it to the socket of your own agent',
    );
  }
  const socket = upstreamSocket(path, run);
  if (socket === undefined || !(await listens(socket))) {
    const message = `your own agent does not listen on ${name} (${quoted(path)}): \`ssh -A\` has nothing to forward`;
    return warn(message, 'start your agent, for example: eval "$(ssh-agent)"');
  }
  return ok(`your own agent answers on ${quoted(path)}`);
}

/** On Windows the blocks name the user's agent directly, if `upstream_agent` or the user's ssh config does. */
async function judgeWindowsAgent(context: CheckContext): Promise<Finding> {
  const { upstreamAgent, sshConfigFile } = context;
  const config = await effectiveConfig(otherName, sshConfigFile).catch(() => undefined);
  const path = upstreamAgent ?? (config && identityAgentOf(config));
  if (path === undefined || path === noUpstream) {
    return ok('`ssh -A` forwards no agent: upstream_agent in ssh.toml is not set');
  }
  if (await listens(path)) return ok(`your own agent answers on ${quoted(path)}`);
  const message = `your own agent does not listen on ${quoted(path)}: every login prints an error about it`;
  return warn(message, 'start it, for example: Start-Service ssh-agent');
}

/** In the agent's order: settings, the user's ssh config, the environment. */
async function namedAgent({
  upstreamAgent,
  environment,
  sshConfigFile,
}: CheckContext): Promise<[name: string, path: string | undefined]> {
  if (upstreamAgent !== undefined) return ['upstream_agent in ssh.toml', upstreamAgent];
  const config = await effectiveConfig(otherName, sshConfigFile).catch(() => undefined);
  const identityAgent = config && identityAgentOf(config);
  if (identityAgent !== undefined) return ['IdentityAgent in your ssh config', identityAgent];
  return ['SSH_AUTH_SOCK', environment['SSH_AUTH_SOCK']];
}

function isPlaceholder(path: string): boolean {
  const found = lstatSync(path, { throwIfNoEntry: false });
  return found !== undefined && (found.isSocket() || found.isFile());
}

function listens(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = net.connect(path);
    const end = (answer: boolean) => {
      socket.destroy();
      resolve(answer);
    };
    socket.once('connect', () => end(true)).once('error', () => end(false));
    socket.setTimeout(2_000, () => end(false));
  });
}
