import { chmodSync, closeSync, lstatSync, openSync, renameSync, rmSync, type Stats } from 'node:fs';
import net from 'node:net';
import { dirname, join } from 'node:path';
import { MintError } from '../errors.ts';

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
  serial += 1;
  const unfinished = join(runDirectory, `.${process.pid}-${serial}`);
  const failed = (cause: Error) =>
    new MintError('agent-unavailable', `cannot listen in ${dirname(path)}: ${cause.message}`, { cause });
  const server = net.createServer({ allowHalfOpen: halfOpen }, (socket) => {
    socket.on('error', () => socket.destroy());
    accept(socket);
  });
  // Out of descriptors: the connection is lost, the server is not.
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause) => reject(failed(cause)));
    server.listen({ path: unfinished, backlog: backlogLimit }, resolve);
  });
  server.on('error', () => {});
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
