/** Listens on `HOST PORT` and never accepts anyone: once its queue is full, a connection to it gets no answer. */
import { createServer } from 'node:net';

const [host, port] = process.argv.slice(2);
createServer().listen({ host, port: Number(port), backlog: 1 }, () => {
  process.stdout.write('listening\n', () => {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
  });
});
