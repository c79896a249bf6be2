import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { AgentLink } from '../../src/proxy/agent-link.ts';
import { bridge } from '../../src/proxy/bridge.ts';
import { connectServer, type End } from '../../src/proxy/end.ts';

const listeners: net.Server[] = [];
after(() => {
  for (const listener of listeners) listener.close();
});

/** An End and the socket at its far side. */
async function makeEnd(): Promise<{ end: End; far: net.Socket }> {
  const listener = net.createServer({ allowHalfOpen: true }).listen(0, '127.0.0.1');
  listeners.push(listener);
  await once(listener, 'listening');
  const { port } = listener.address() as net.AddressInfo;
  const accepted = once(listener, 'connection') as Promise<[net.Socket]>;
  const end = await connectServer({ host: '127.0.0.1', port }, 5000);
  const [far] = await accepted;
  far.on('error', () => {});
  return { end, far };
}

/** The one thing a bridge asks of the agent's line: to be told that the client went on. */
async function makeBridge(clientSpoke = true) {
  const { end: client, far: ssh } = await makeEnd();
  const { end: server, far: sshd } = await makeEnd();
  const proceeded: string[] = [];
  const agent = { proceeded: () => proceeded.push('proceeded') } as unknown as AgentLink;
  return { ssh, sshd, proceeded, result: bridge(client, server, agent, clientSpoke) };
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

test('bytes pass both ways while the client holds its input open, as ssh does', async () => {
  const { ssh, sshd, result } = await makeBridge();
  for (let turn = 0; turn < 8; turn += 1) {
    ssh.write(`question ${turn}`);
    assert.equal(await read(sshd, 10), `question ${turn}`);
    sshd.write(`answer ${turn}`);
    assert.equal(await read(ssh, 8), `answer ${turn}`);
  }
  sshd.end();
  await once(ssh.resume(), 'end');
  ssh.end();
  assert.deepEqual(await result, { early: false, failure: undefined });
});

test('a client that has said all it will say still gets what the server sends', async () => {
  const { ssh, sshd, result } = await makeBridge();
  ssh.end('last words');
  assert.equal(await read(sshd, 10), 'last words');
  await once(sshd, 'end');
  sshd.end('and the answer to them');
  assert.equal(await read(ssh, 22), 'and the answer to them');
  assert.deepEqual(await result, { early: true, failure: undefined });
});

test('a server that has said all it will say still gets what the client sends', async () => {
  const { ssh, sshd, result } = await makeBridge();
  sshd.end('goodbye');
  assert.equal(await read(ssh, 7), 'goodbye');
  ssh.end('but listen');
  assert.equal(await read(sshd, 10), 'but listen');
  assert.equal((await result).failure, undefined);
});

test('a reset of the server ends the client, and says so', async () => {
  const { ssh, sshd, result } = await makeBridge();
  sshd.resetAndDestroy();
  await once(ssh.resume(), 'end');
  assert.equal(((await result).failure as NodeJS.ErrnoException).code, 'ECONNRESET');
});

test('a reader that stops reading stops the writer, and gets every byte in the end', async () => {
  const { ssh, sshd, result } = await makeBridge();
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

test('the client’s second turn, behind an answer to its first, is told to the agent', async () => {
  const { ssh, sshd, proceeded, result } = await makeBridge();
  sshd.write('service accepted');
  await read(ssh, 16);
  assert.deepEqual(proceeded, []);
  ssh.write('who am I');
  await read(sshd, 8);
  assert.deepEqual(proceeded, ['proceeded']);
  ssh.end();
  sshd.end();
  await result;
});

test('a goodbye after bytes that answer nothing is no second turn', async () => {
  const { ssh, sshd, proceeded, result } = await makeBridge(false);
  sshd.write('encrypted, or so it says');
  await read(ssh, 24);
  ssh.end('the signature is wrong');
  await read(sshd, 22);
  sshd.end();
  await result;
  assert.deepEqual(proceeded, []);
});
