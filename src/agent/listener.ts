import { chmodSync, closeSync, lstatSync, openSync, renameSync, rmSync, type Stats } from 'node:fs';
import net from 'node:net';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { MintError } from '../errors.ts';
import { controlSecret, usesPipes } from '../platform/sockets.ts';

/** A listening socket that is put in its place whole, and taken away only while it is still ours. */
export interface Listener {
  readonly path: string;
  /** False once someone removed or replaced the socket. */
  isInPlace(): boolean;
  /** Lets go of the path, not of the connections. */
  remove(): void;
  /** The same, and leaves an empty file there. */
  leaveFile(): void;
  /** Accepts nothing more; what was accepted lives on. */
  close(): void;
}

/** As many as the system allows: a client that finds the queue full is refused, not kept waiting. */
const backlogLimit = 4096;

let serial = 0;

/**
 * Listens on a Unix socket at `path`, replacing what is there.
 *
 * It is bound under another name and renamed: so no one ever finds nothing, or a socket with a wrong mode,
 * at `path`. And libuv, which unlinks the name it was bound under when a server closes, can never unlink
 * the socket of a newer agent.
 *
 * @param options `halfOpen`: a client that has said all it has to say may still be answered
 * @throws MintError `agent-unavailable`
 */
export async function listen(
  path: string,
  runDirectory: string,
  accept: (socket: net.Socket) => void,
  { halfOpen = false }: { readonly halfOpen?: boolean } = {},
): Promise<Listener> {
  if (usesPipes) return listenOnPipe(path, runDirectory, accept, halfOpen);
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
  // As long as the server is open its inode is in use, so no other socket can have the same number.
  const isInPlace = () => {
    try {
      const found = lstatSync(path, { throwIfNoEntry: false });
      return found !== undefined && found.ino === own.ino && found.dev === own.dev;
    } catch {
      // A home that is away for a moment, a directory without rights: nobody has taken its place.
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
        // Where it cannot be reached it cannot be removed: whoever starts next replaces it.
      }
    },
    leaveFile() {
      if (!isInPlace()) return;
      try {
        closeSync(openSync(unfinished, 'wx', 0o600));
        renameSync(unfinished, path);
      } catch {
        // The disk is full: a socket that no one answers stays, and does no harm.
      }
    },
    close() {
      server.close();
    },
  };
}

/** As many clients may find a pipe at the same moment; ssh looks again only after a second. */
const pipeInstances = 16;
/** How long an agent that has just ended may still have the name, in milliseconds. */
const pipePatience = 3000;

/**
 * The same on a named pipe. Its name is taken from the first moment to the last: libuv creates the first instance with
 * FILE_FLAG_FIRST_PIPE_INSTANCE, so a name that someone else has taken is an error and never shared, and by the pipe's
 * access list no other user can add an instance to ours.
 */
async function listenOnPipe(
  path: string,
  runDirectory: string,
  accept: (socket: net.Socket) => void,
  halfOpen: boolean,
): Promise<Listener> {
  // The only way to tell Node, and read at each `listen`.
  process.env['NODE_PENDING_PIPE_INSTANCES'] = String(pipeInstances);
  const secret = controlSecret(runDirectory);
  let server: net.Server | undefined;
  for (const deadline = performance.now() + pipePatience; server === undefined; ) {
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
    // A new secret means other names: then nobody looks here any more.
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
  // Out of descriptors: the connection is lost, the server is not.
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
