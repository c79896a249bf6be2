import { chmodSync, lstatSync, renameSync, rmSync } from 'node:fs';
import net from 'node:net';
import { dirname, join } from 'node:path';
import { MintError } from '../errors.ts';

/** A listening socket that is put in its place whole, and taken away only while it is still ours. */
export interface Listener {
  readonly path: string;
  /** Lets go of the path, not of the connections. */
  remove(): void;
}

let serial = 0;

/**
 * Listens on a Unix socket at `path`, replacing what is there.
 *
 * It is bound under another name and renamed: so no one ever finds nothing, or a socket with a wrong mode,
 * at `path`. And libuv, which unlinks the name it was bound under when a server closes, can never unlink
 * the socket of a newer agent.
 *
 * @throws MintError `agent-unavailable`
 */
export async function listen(
  path: string,
  runDirectory: string,
  accept: (socket: net.Socket) => void,
): Promise<Listener> {
  serial += 1;
  const unfinished = join(runDirectory, `.${process.pid}-${serial}`);
  const server = net.createServer({ allowHalfOpen: false }, (socket) => {
    socket.on('error', () => socket.destroy());
    accept(socket);
  });
  // Out of descriptors: the connection is lost, the server is not.
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause) => {
      reject(
        new MintError('agent-unavailable', `cannot listen in ${dirname(path)}: ${cause.message}`, { cause }),
      );
    });
    server.listen(unfinished, resolve);
  });
  server.on('error', () => {});
  chmodSync(unfinished, 0o600);
  const own = lstatSync(unfinished).ino;
  renameSync(unfinished, path);
  return {
    path,
    remove() {
      if (lstatSync(path, { throwIfNoEntry: false })?.ino === own) rmSync(path, { force: true });
    },
  };
}
