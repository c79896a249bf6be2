/** Servers with false host keys, on loopback. */
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { KeyExchangeObserver } from '../../src/ssh/observer.ts';

export interface Impostor {
  readonly port: number;
  close(): Promise<void>;
}

/**
 * Takes connections to a real sshd, and shows its clients another host key than the one that signed: what a
 * server would do that knows a host's public key and does not own it.
 *
 * @param shown a key blob of the same length as the real one
 */
export function startImpostor(target: number, shown: Buffer): Promise<Impostor> {
  return listen((near) => {
    const far = connect(target, '127.0.0.1');
    const observer = new KeyExchangeObserver();
    for (const socket of [near, far]) socket.on('error', () => socket.destroy());
    near.on('close', () => far.destroy());
    far.on('close', () => near.destroy());
    near.on('data', (chunk: Buffer) => {
      for (const { bytes } of observer.client(chunk)) far.write(bytes);
    });
    far.on('data', (chunk: Buffer) => {
      for (const event of observer.server(chunk)) {
        if (event.type === 'reply') {
          if (event.hostKey.length !== shown.length) throw new Error('keys of different lengths');
          shown.copy(event.bytes, event.bytes.indexOf(event.hostKey));
        }
        near.write(event.bytes);
      }
    });
  });
}

/** A TCP port each of whose connections is one run of `serve`. */
export function listen(serve: (socket: Socket) => void): Promise<Impostor> {
  const sockets = new Set<Socket>();
  const server: Server = createServer((socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    serve(socket);
  });
  return new Promise((resolve) => {
    server.listen(0, '127.0.0.1', () => {
      resolve({
        port: (server.address() as AddressInfo).port,
        close() {
          for (const socket of sockets) socket.destroy();
          return new Promise((done) => server.close(() => done()));
        },
      });
    });
  });
}
