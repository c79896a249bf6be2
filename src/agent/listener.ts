/** Listening sockets: put in place in one step, replaced if removed, and protected from clients that send nothing. */
import { chmodSync, closeSync, lstatSync, openSync, renameSync, rmSync, type Stats } from 'node:fs';
import net from 'node:net';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { MintError } from '../errors.ts';
import { controlSecret } from '../platform/sockets.ts';
import { system } from '../platform/system/system.ts';

/** A listening socket. It appears at its path in one step, and is removed only while the path still leads to it. */
export interface Listener {
  readonly path: string;
  /** False once the socket was removed or replaced. */
  isInPlace(): boolean;
  /** Removes the path; connections stay open. */
  remove(): void;
  /** Replaces the socket at the path by an empty file. */
  leaveFile(): void;
  /** Accepts no more connections; accepted ones stay open. */
  close(): void;
}

/** As many as the system allows: a client that finds the queue full is refused at once. */
const backlogLimit = 4096;

let serial = 0;

/**
 * Listens on a Unix socket at `path`, and replaces what is there.
 *
 * The socket is bound under another name and renamed, so that `path` never leads to nothing, or to a socket with a wrong
 * mode. When a server closes, libuv unlinks the name under which it was bound, which is never the socket of a newer
 * agent.
 * @param options `halfOpen`: a client that has ended its side may still be answered
 * @throws MintError `agent-unavailable`
 */
export async function listen(
  path: string,
  runDirectory: string,
  accept: (socket: net.Socket) => void,
  { halfOpen = false }: { readonly halfOpen?: boolean } = {},
): Promise<Listener> {
  if (system.hasPipes) return listenOnPipe(path, runDirectory, accept, halfOpen);
  serial += 1;
  const unfinished = join(runDirectory, `.${process.pid}-${serial}`);
  const failed = (cause: Error) => cannotListen(dirname(path), cause);
  const server = await listening(unfinished, accept, halfOpen).catch((cause: Error) => {
    throw failed(cause);
  });
  let own: Stats;
  try {
    chmodSync(unfinished, 0o600);
    own = lstatSync(unfinished);
    renameSync(unfinished, path);
  } catch (error) {
    server.close();
    rmSync(unfinished, { force: true });
    throw failed(error as Error);
  }
  // While the server is open its inode is in use, so no other socket can have the same number.
  const isInPlace = () => {
    try {
      const found = lstatSync(path, { throwIfNoEntry: false });
      return found !== undefined && found.ino === own.ino && found.dev === own.dev;
    } catch {
      // The home directory is unavailable for a moment, or may not be read: the socket was not replaced.
      return true;
    }
  };
  return {
    path,
    isInPlace,
    remove() {
      try {
        if (isInPlace()) rmSync(path, { force: true });
      } catch {
        // The directory is unavailable: the next agent replaces the socket.
      }
    },
    leaveFile() {
      if (!isInPlace()) return;
      try {
        closeSync(openSync(unfinished, 'wx', 0o600));
        renameSync(unfinished, path);
      } catch {
        // The disk is full: an unanswered socket stays there, which is harmless.
      }
    },
    close() {
      server.close();
    },
  };
}

/** How many clients may open the pipe at the same moment; ssh retries only after a second. */
const pipeInstances = 16;
/** How long the name may still be taken by an agent that has just exited. */
const pipeTimeoutMs = 3000;

/**
 * Listens on a named pipe (Windows). libuv creates the first instance with FILE_FLAG_FIRST_PIPE_INSTANCE, so a name that
 * another program has taken is an error and is never shared. The access list of the pipe lets no other user add an
 * instance.
 */
async function listenOnPipe(
  path: string,
  runDirectory: string,
  accept: (socket: net.Socket) => void,
  halfOpen: boolean,
): Promise<Listener> {
  // Node takes this setting from the environment only, at each `listen`.
  process.env['NODE_PENDING_PIPE_INSTANCES'] = String(pipeInstances);
  const secret = controlSecret(runDirectory);
  let server: net.Server | undefined;
  for (const deadline = performance.now() + pipeTimeoutMs; server === undefined; ) {
    try {
      server = await listening(path, accept, halfOpen);
    } catch (error) {
      const isTaken = (error as NodeJS.ErrnoException).code === 'EADDRINUSE';
      if (!isTaken || performance.now() > deadline) throw cannotListen(path, error as Error);
      await sleep(50);
    }
  }
  const own = server;
  const close = () => {
    own.close();
  };
  return {
    path,
    // With a new secret the pipes have other names, so no client opens this one.
    isInPlace() {
      try {
        return own.listening && secret !== undefined && controlSecret(runDirectory)?.equals(secret) === true;
      } catch {
        return true;
      }
    },
    remove: close,
    leaveFile: close,
    close,
  };
}

/** @throws the system's error */
async function listening(
  path: string,
  accept: (socket: net.Socket) => void,
  halfOpen: boolean,
): Promise<net.Server> {
  const server = net.createServer({ allowHalfOpen: halfOpen }, (socket) => {
    socket.on('error', () => socket.destroy());
    accept(socket);
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen({ path, backlog: backlogLimit }, resolve);
  });
  // Without descriptors a connection is lost, but the server continues.
  server.on('error', () => {});
  return server;
}

function cannotListen(where: string, cause: Error): MintError {
  return new MintError('agent-unavailable', `cannot listen in ${where}: ${cause.message}`, { cause });
}

/**
 * The connections to one socket that have not sent a complete message yet. Their number and their age are limited, so
 * that no client, by mistake or malice, uses up the agent's file descriptors.
 */
export class PendingConnections {
  readonly #pending = new Set<net.Socket>();
  readonly #limit: number;
  readonly #timeoutMs: number;

  /** @param options `timeoutMs`: how long a connection may take to send its first complete message */
  constructor({ limit, timeoutMs }: { readonly limit: number; readonly timeoutMs: number }) {
    this.#limit = limit;
    this.#timeoutMs = timeoutMs;
  }

  /** Adds a new connection. At the limit it evicts the oldest one that has not sent a complete message. */
  add(socket: net.Socket): void {
    this.#pending.add(socket);
    const [oldest] = this.#pending;
    if (oldest !== undefined && this.#pending.size > this.#limit) {
      // Remove it now: its `close` comes later, and many may connect before that.
      this.#pending.delete(oldest);
      oldest.destroy();
    }
    const timer = setTimeout(() => {
      if (this.#pending.has(socket)) socket.destroy();
    }, this.#timeoutMs).unref();
    socket.once('close', () => {
      clearTimeout(timer);
      this.#pending.delete(socket);
    });
  }

  /** The connection has sent a complete message and may stay. */
  accept(socket: net.Socket): void {
    this.#pending.delete(socket);
  }
}
