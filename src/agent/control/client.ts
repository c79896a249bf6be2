/** Connects commands and proxies to the agent: the checks on its socket, its start on demand, and one request and reply. */
import { spawn } from 'node:child_process';
import { closeSync, lstatSync, openSync, rmSync, type Stats, statSync } from 'node:fs';
import net from 'node:net';
import { join, parse } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { command } from '../../cli/shell-command.ts';
import { printable } from '../../cli/terminal.ts';
import { MintError } from '../../errors.ts';
import { ensureClosedDirectory, ensurePrivateDirectory, ioFailed } from '../../platform/files.ts';
import { agentEnvironment } from '../../platform/hardening.ts';
import type { Paths } from '../../platform/paths.ts';
import { ownProcess } from '../../platform/program.ts';
import { controlSecret } from '../../platform/sockets.ts';
import { system } from '../../platform/system/system.ts';
import { MessageStream, parseReply } from './messages.ts';
import { proveToAgent } from './proof.ts';
import type { AgentReply, AgentRequest, FailureReply } from './protocol.ts';

export type ControlConnection = Pick<MessageStream<AgentReply>, 'send' | 'close'>;

export interface ControlListener {
  readonly received: (reply: AgentReply) => void;
  /** The agent ended the connection. Not called after `close`. */
  readonly lost: () => void;
}

/** On Windows a pipe of an elevated program belongs to the administrators, and other programs cannot open it. */
const elevatedHint = 'an administrator’s shell may have started the agent; run there: mint-ssh agent stop';
/** How long to retry while the queue of the agent's socket is full. */
const queueLimitMs = 5000;
/** How long a connection waits for an agent to start. */
const startLimitMs = 8000;
/** How long the process that starts an agent may take before another one tries. */
const turnLimitMs = 2000;
/** How long the agent may take to reply to a command. */
const replyLimitMs = 10_000;
/** How often a request is sent again if the agent exits before it replies, and after which pause. */
const maxAttempts = 5;
const retryPauseMs = 100;

/**
 * Connects to a running agent.
 * @returns undefined if no agent listens
 * @throws MintError `unsafe-permissions` if the socket could belong to another user; `agent-unavailable`
 */
export async function connectControl(
  paths: Paths,
  listener: ControlListener,
): Promise<ControlConnection | undefined> {
  for (const deadline = performance.now() + queueLimitMs; ; await sleep(10 + Math.random() * 20)) {
    const secret = controlSecret(paths.run);
    if (system.hasPipes ? secret === undefined : !isSafeSocket(paths)) return undefined;
    try {
      return await connectOnce(paths, listener, secret);
    } catch (error) {
      if (error instanceof MintError) throw error;
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'ECONNREFUSED' || code === 'ENOENT') return undefined;
      // The queue of the socket is full, or the agent is just exiting.
      const isMomentary = code === 'EAGAIN' || code === 'ECONNRESET' || code === 'EPIPE';
      if (isMomentary && performance.now() < deadline) continue;
      throw new MintError('agent-unavailable', `cannot reach the agent: ${code}`, {
        cause: error,
        hint: system.hasPipes && (code === 'EPERM' || code === 'EACCES') ? elevatedHint : undefined,
      });
    }
  }
}

/** @param secret that the agent must prove to know first; undefined on Unix, where the directory protects the socket */
function connectOnce(
  paths: Paths,
  listener: ControlListener,
  secret: Buffer | undefined,
): Promise<ControlConnection> {
  return new Promise((resolve, reject) => {
    const socket = net.connect(paths.control);
    const failed = (error: NodeJS.ErrnoException) => reject(error);
    const connected = () => {
      let isLost = false;
      const lost = () => {
        if (isLost || messages.isClosed) return;
        isLost = true;
        socket.destroy();
        listener.lost();
      };
      const messages = new MessageStream(socket, parseReply, listener.received, lost);
      socket.off('error', failed).on('error', lost).on('close', lost);
      resolve(messages);
    };
    socket.once('error', failed);
    socket.once('connect', () => {
      if (secret === undefined) connected();
      else
        proveToAgent(socket, secret, paths.control).then(() => {
          connected();
          socket.resume();
        }, failed);
    });
  });
}

/**
 * @returns false if there is no socket
 * @throws MintError `unsafe-permissions` if another user could own it or reach it
 */
function isSafeSocket(paths: Paths): boolean {
  const directory = status(paths.run);
  const socket = status(paths.control);
  if (directory === undefined || socket === undefined) return false;
  const user = process.getuid?.();
  const isOurs = (of: Stats) => user === undefined || of.uid === user;
  if (!directory.isDirectory() || !isOurs(directory) || (directory.mode & 0o077) !== 0) {
    throw new MintError('unsafe-permissions', `other users could access ${paths.run}`, {
      hint: command`chmod 700 ${paths.run}`,
    });
  }
  if (!socket.isSocket() || !isOurs(socket)) {
    throw new MintError('unsafe-permissions', `${paths.control} is not a socket of yours`, {
      hint: command`rm ${paths.control}`,
    });
  }
  return true;
}

function status(path: string): Stats | undefined {
  try {
    return lstatSync(path, { throwIfNoEntry: false });
  } catch (error) {
    // There is a file in place of the directory; the check of the directory reports that.
    if ((error as NodeJS.ErrnoException).code === 'ENOTDIR') return undefined;
    throw ioFailed('look at', path, error);
  }
}

/**
 * Connects to the agent, and starts one if none runs.
 * @throws MintError `agent-unavailable` or `unsafe-permissions`
 */
export async function connectOrStart(paths: Paths, listener: ControlListener): Promise<ControlConnection> {
  const running = await connectControl(paths, listener);
  if (running !== undefined) return running;
  ensurePrivateDirectory(paths.dir);
  ensureClosedDirectory(paths.run);
  const turn = join(paths.run, 'starting');
  for (const deadline = Date.now() + startLimitMs; Date.now() < deadline; ) {
    if (takeTurn(turn)) {
      try {
        // Another process may have started it meanwhile.
        const started = await connectControl(paths, listener);
        if (started !== undefined) return started;
        await startAgent(paths);
      } finally {
        rmSync(turn, { force: true });
      }
    }
    const connection = await connectControl(paths, listener);
    if (connection !== undefined) return connection;
    await sleep(5);
  }
  throw new MintError('agent-unavailable', 'the agent does not start', {
    hint: `its log says why: ${paths.agentLog}`,
  });
}

/**
 * If many processes want an agent at once, the first to create the file starts it. This only saves work: the agent's own
 * lock decides which agent runs.
 */
function takeTurn(path: string): boolean {
  try {
    closeSync(openSync(path, 'wx', 0o600));
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') {
      throw new MintError('io-failed', `cannot write to the run directory: ${(error as Error).message}`, {
        cause: error,
      });
    }
  }
  const age = Date.now() - (statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? Date.now());
  if (Math.abs(age) > turnLimitMs) rmSync(path, { force: true });
  return false;
}

/** What an agent writes to its stderr when it is ready, if it cannot close it: on Windows libuv keeps it open. */
export const readySign = '\n';

/**
 * Resolves when the agent listens, or has found another one running. Its stderr is a pipe until then: the agent writes
 * there why it cannot run, as one line of JSON, or closes it.
 * @throws MintError the agent's own, or `agent-unavailable`
 */
function startAgent(paths: Paths): Promise<void> {
  const { file, words } = ownProcess(['agent', '--background', '--config-dir', paths.dir]);
  const child = spawn(file, words, {
    detached: true,
    // On Windows a detached program would get a console window of its own.
    windowsHide: true,
    cwd: parse(paths.run).root,
    env: agentEnvironment(process.env),
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  child.unref();
  return new Promise((resolve, reject) => {
    const written: Buffer[] = [];
    // There is no pipe if no descriptor is left; then `error` follows.
    child.stderr?.on('data', (bytes: Buffer) => {
      if (bytes.toString() === readySign) child.stderr?.destroy();
      else written.push(bytes);
    });
    child.once('error', (cause) => {
      reject(new MintError('agent-unavailable', `cannot start the agent: ${cause.message}`, { cause }));
    });
    child.stderr?.once('close', () => {
      const failure = parseFailure(Buffer.concat(written).toString('utf8'));
      if (failure === undefined) resolve();
      else reject(failure);
    });
  });
}

function parseFailure(output: string): MintError | undefined {
  if (output.trim() === '') return undefined;
  try {
    const { code, message, hint } = JSON.parse(output) as FailureReply;
    return new MintError(code, message, { hint });
  } catch {
    const firstLine = output.trim().split('\n')[0];
    return new MintError('agent-unavailable', `the agent does not start: ${firstLine}`);
  }
}

/**
 * Sends one request to the agent, which is started if none runs.
 * @throws MintError the agent's reply, `agent-unavailable`, `unsafe-permissions`
 */
export async function askAgent(paths: Paths, request: AgentRequest): Promise<AgentReply> {
  const reply = await ask((listener) => connectOrStart(paths, listener), request);
  return reply ?? noAnswer();
}

/**
 * Sends one request to a running agent.
 * @returns undefined if none runs
 * @throws MintError as `askAgent`
 */
export async function askRunningAgent(paths: Paths, request: AgentRequest): Promise<AgentReply | undefined> {
  return ask((listener) => connectControl(paths, listener), request);
}

type Connect = (listener: ControlListener) => Promise<ControlConnection | undefined>;

/** Retries, because an agent that is killed or superseded may still accept a connection before it exits. */
async function ask(connect: Connect, request: AgentRequest): Promise<AgentReply | undefined> {
  for (let attempt = 1; attempt <= maxAttempts; attempt += 1) {
    const reply = await askOnce(connect, request);
    if (reply === 'none') return undefined;
    if (reply !== 'gone') return reply;
    await sleep(retryPauseMs);
  }
  return noAnswer();
}

/** @returns `none` if there is no agent, `gone` if it exited before it replied */
async function askOnce(connect: Connect, request: AgentRequest): Promise<AgentReply | 'none' | 'gone'> {
  const { promise, resolve, reject } = Promise.withResolvers<AgentReply | 'gone'>();
  const connection = await connect({
    received(reply) {
      if (reply.type !== 'superseded') resolve(reply);
    },
    lost: () => resolve('gone'),
  });
  if (connection === undefined) return 'none';
  const limit = setTimeout(() => reject(silent()), replyLimitMs);
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
