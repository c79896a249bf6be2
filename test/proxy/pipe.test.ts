import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ByteStream } from '../../src/proxy/byte-stream.ts';
import { pipe } from '../../src/proxy/pipe.ts';
import { connectTcp } from '../../src/proxy/routes/direct.ts';

const listeners: net.Server[] = [];
after(() => {
  for (const listener of listeners) listener.close();
});

/** An End and the socket at its far side. */
async function makeEnd(): Promise<{ end: ByteStream; far: net.Socket }> {
  const listener = net.createServer({ allowHalfOpen: true }).listen(0, '127.0.0.1');
  listeners.push(listener);
  await once(listener, 'listening');
  const { port } = listener.address() as net.AddressInfo;
  const accepted = once(listener, 'connection') as Promise<[net.Socket]>;
  const end = await connectTcp({ host: '127.0.0.1', port }, 5000);
  const [far] = await accepted;
  far.on('error', () => {});
  return { end, far };
}

/** `pipe` tells the agent that the client has accepted the host. */
async function makePipe(clientSpoke = true) {
  const { end: client, far: ssh } = await makeEnd();
  const { end: server, far: sshd } = await makeEnd();
  const accepted: string[] = [];
  const ignore = () => {};
  const agent = {
    clientAcceptedHost: () => accepted.push('accepted'),
    prepareRefusal: async () => {},
    refusalNotice: { drop: ignore },
  };
  return { ssh, sshd, accepted, result: pipe(client, server, agent, clientSpoke) };
}

async function read(socket: net.Socket, length: number): Promise<string> {
  const pieces: Buffer[] = [];
  for (let total = 0; total < length; ) {
    const [piece] = (await once(socket, 'data')) as [Buffer];
    pieces.push(piece);
    total += piece.length;
  }
  return Buffer.concat(pieces).toString();
}

test('passes bytes both ways while the client keeps its input open, as ssh does', async () => {
  const { ssh, sshd, result } = await makePipe();
  for (let turn = 0; turn < 8; turn += 1) {
    ssh.write(`question ${turn}`);
    assert.equal(await read(sshd, 10), `question ${turn}`);
    sshd.write(`answer ${turn}`);
    assert.equal(await read(ssh, 8), `answer ${turn}`);
  }
  sshd.end();
  await once(ssh.resume(), 'end');
  ssh.end();
  assert.deepEqual(await result, { isEarly: false, failure: undefined });
});

test('a client that has ended its side still gets the server’s bytes', async () => {
  const { ssh, sshd, result } = await makePipe();
  ssh.end('last words');
  assert.equal(await read(sshd, 10), 'last words');
  await once(sshd, 'end');
  sshd.end('and the answer to them');
  assert.equal(await read(ssh, 22), 'and the answer to them');
  assert.deepEqual(await result, { isEarly: true, failure: undefined });
});

test('a server that has ended its side still gets the client’s bytes', async () => {
  const { ssh, sshd, result } = await makePipe();
  sshd.end('goodbye');
  assert.equal(await read(ssh, 7), 'goodbye');
  ssh.end('but listen');
  assert.equal(await read(sshd, 10), 'but listen');
  assert.equal((await result).failure, undefined);
});

test('a reset by the server ends the client with an error', async () => {
  const { ssh, sshd, result } = await makePipe();
  sshd.resetAndDestroy();
  await once(ssh.resume(), 'end');
  assert.equal(((await result).failure as NodeJS.ErrnoException).code, 'ECONNRESET');
});

test('a slow reader holds the writer back, and finally gets every byte', async () => {
  const { ssh, sshd, result } = await makePipe();
  const total = 64 * 1024 * 1024;
  const chunk = Buffer.alloc(1024 * 1024, 7);
  const before = process.memoryUsage.rss();
  let accepted = 0;
  for (; accepted < total; accepted += chunk.length) {
    if (sshd.write(chunk)) continue;
    const drained = await Promise.race([once(sshd, 'drain').then(() => true), sleep(300, false)]);
    if (!drained) break;
  }
  assert.ok(accepted < total, 'the writer was made to wait');
  assert.ok(process.memoryUsage.rss() - before < 48 * 1024 * 1024, 'nothing piled up in between');
  sshd.end();
  let received = 0;
  for await (const piece of ssh) received += (piece as Buffer).length;
  ssh.end();
  assert.equal(received, accepted + chunk.length);
  assert.equal((await result).failure, undefined);
});

test('reports to the agent that the client sent more after an answer', async () => {
  const { ssh, sshd, accepted, result } = await makePipe();
  sshd.write('service accepted');
  await read(ssh, 16);
  assert.deepEqual(accepted, []);
  ssh.write('who am I');
  await read(sshd, 8);
  assert.deepEqual(accepted, ['accepted']);
  ssh.end();
  sshd.end();
  await result;
});

test('a disconnect after unanswered bytes is not reported', async () => {
  const { ssh, sshd, accepted, result } = await makePipe(false);
  sshd.write('encrypted, or so it says');
  await read(ssh, 24);
  ssh.end('the signature is wrong');
  await read(sshd, 22);
  sshd.end();
  await result;
  assert.deepEqual(accepted, []);
});
