/** Reaching the agent: the checks on its socket, and one connection to it. */

import { lstatSync, type Stats } from 'node:fs';
import net from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { command } from '../../cli/shell-command.ts';
import { MintError } from '../../errors.ts';
import { ioFailed } from '../../platform/files.ts';
import type { Paths } from '../../platform/paths.ts';
import { controlSecret, usesPipes } from '../../platform/sockets.ts';
import { proveToAgent } from './proof.ts';
import { type AgentReply, type AgentRequest, encodeLine, lineSplitter, parseReply } from './protocol.ts';

export interface ControlConnection {
  send(request: AgentRequest): void;
  /** Ends the connection; nothing is received any more. */
  close(): void;
}

export interface ControlListener {
  readonly received: (reply: AgentReply) => void;
  /** The agent went away; not called after `close`. */
  readonly lost: () => void;
}

/** Windows gives the pipes of an elevated program to the administrators, whom an ordinary one is not among. */
const elevatedHint = 'an agent that an administrator’s shell has started? end it there: mint-ssh agent stop';
/** How long a crowd before the agent's socket is waited for, in milliseconds. */
const crowdLimit = 5000;

/**
 * Connects to a running agent. Resolves to undefined where none listens.
 * @throws MintError `unsafe-permissions` where the socket could be another user's; `agent-unavailable`
 */
export async function connectControl(
  paths: Paths,
  listener: ControlListener,
): Promise<ControlConnection | undefined> {
  for (const deadline = performance.now() + crowdLimit; ; await sleep(10 + Math.random() * 20)) {
    const secret = controlSecret(paths.run);
    if (usesPipes ? secret === undefined : !isSafeSocket(paths)) return undefined;
    try {
      return await connectOnce(paths, listener, secret);
    } catch (error) {
      if (error instanceof MintError) throw error;
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'ECONNREFUSED' || code === 'ENOENT') return undefined;
      // More wait to be accepted than the kernel keeps for a socket; or the agent ends at this very moment.
      const isMomentary = code === 'EAGAIN' || code === 'ECONNRESET' || code === 'EPIPE';
      if (isMomentary && performance.now() < deadline) continue;
      throw new MintError('agent-unavailable', `cannot reach the agent: ${code}`, {
        cause: error,
        hint: usesPipes && (code === 'EPERM' || code === 'EACCES') ? elevatedHint : undefined,
      });
    }
  }
}

/** @param secret what the agent has to know before it is told anything; undefined where its socket is guarded */
function connectOnce(
  paths: Paths,
  listener: ControlListener,
  secret: Buffer | undefined,
): Promise<ControlConnection> {
  return new Promise((resolve, reject) => {
    let open = true;
    const socket = net.connect(paths.control);
    const lost = () => {
      if (!open) return;
      open = false;
      socket.destroy();
      listener.lost();
    };
    const split = lineSplitter((message) => {
      if (open) listener.received(parseReply(message));
    });
    const failed = (error: NodeJS.ErrnoException) => {
      open = false;
      reject(error);
    };
    const connected = () => {
      socket.off('error', failed).on('error', lost).on('close', lost);
      socket.on('data', (chunk) => {
        try {
          split(chunk);
        } catch {
          lost();
        }
      });
      resolve({
        send: (request) => socket.write(encodeLine(request)),
        close: () => {
          open = false;
          socket.end();
        },
      });
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

/** False where there is no socket. @throws MintError `unsafe-permissions` where it is not safely ours */
function isSafeSocket(paths: Paths): boolean {
  const directory = status(paths.run);
  const socket = status(paths.control);
  if (directory === undefined || socket === undefined) return false;
  const user = process.getuid?.();
  const isOurs = (of: Stats) => user === undefined || of.uid === user;
  if (!directory.isDirectory() || !isOurs(directory) || (directory.mode & 0o077) !== 0) {
    throw new MintError('unsafe-permissions', `others could reach into ${paths.run}`, {
      hint: command`it has to be a directory of your own: chmod 700 ${paths.run}`,
    });
  }
  if (!socket.isSocket() || !isOurs(socket)) {
    throw new MintError('unsafe-permissions', `${paths.control} is not a socket of your own`, {
      hint: command`remove it: rm ${paths.control}`,
    });
  }
  return true;
}

function status(path: string): Stats | undefined {
  try {
    return lstatSync(path, { throwIfNoEntry: false });
  } catch (error) {
    // A file in place of the directory: what stands there is told by its own check.
    if ((error as NodeJS.ErrnoException).code === 'ENOTDIR') return undefined;
    throw ioFailed('look at', path, error);
  }
}
