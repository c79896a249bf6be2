import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import net from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { WebSocket } from 'ws';
import { demoVpc } from '../../src/demo/instance.ts';
import type { ByteStream } from '../../src/proxy/byte-stream.ts';
import { connectTcp } from '../../src/proxy/routes/direct.ts';
import { openTunnel } from '../../src/proxy/routes/endpoint-tunnel.ts';
import { setUp } from '../aws/setup.ts';
import { startEndpoint } from '../cloud/endpoint.ts';
import { waitFor } from '../openssh/child.ts';

const tls = join(import.meta.dirname, '../aws/tls');
process.env['AWS_CA_BUNDLE'] = join(tls, 'certificate.pem');
const pem = {
  key: readFileSync(join(tls, 'key.pem'), 'utf8'),
  cert: readFileSync(join(tls, 'certificate.pem'), 'utf8'),
};

/** More than all the buffers of two connections on loopback hold, many times over. */
const total = 128 << 20;
/** The bytes that may be in transit while nothing reads. */
const most = 64 << 20;
const piece = randomBytes((1 << 20) - 7);
const pieces = Math.floor(total / piece.length);

interface Pair {
  readonly end: ByteStream;
  readonly far: WebSocket;
}

/** A tunnel, and the WebSocket at its far side. */
async function makeTunnel(t: TestContext): Promise<Pair> {
  const { cloud, aws, environment } = await setUp(t);
  const endpoint = await startEndpoint({ cloud, tls: pem });
  t.after(() => endpoint.close());
  const opened = Promise.withResolvers<WebSocket>();
  endpoint.reception = {
    kind: 'open',
    act(socket) {
      socket.send(Buffer.from('hello'));
      opened.resolve(socket);
    },
  };
  const request = { vpc: demoVpc, ipv4: '10.0.0.7', port: 22 };
  const tunnel = await aws.tunnel({ environment: environment() }, request);
  const options = { vm: 'dev', port: 22, timeoutMs: 15_000, signal: new AbortController().signal };
  const end = await openTunnel(tunnel, options);
  t.after(() => end.destroy());
  assert.equal((await end.read())?.toString(), 'hello');
  return { end, far: await opened.promise };
}

/** A TCP connection's End, and the socket at its far side. */
async function makeEnd(t: TestContext): Promise<{ end: ByteStream; far: net.Socket }> {
  const listener = net.createServer({ allowHalfOpen: true }).listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const accepted = once(listener, 'connection') as Promise<[net.Socket]>;
  const { port } = listener.address() as net.AddressInfo;
  const end = await connectTcp({ host: '127.0.0.1', port }, 5000);
  const [far] = await accepted;
  far.on('error', () => {});
  t.after(() => {
    end.destroy();
    far.destroy();
    listener.close();
  });
  return { end, far };
}

/** Writes all pieces, each when the one before it was taken. */
function feed(write: (bytes: Buffer) => Promise<unknown>): { readonly taken: number; done: Promise<void> } {
  const state = { taken: 0, done: Promise.resolve() };
  state.done = (async () => {
    for (let count = 0; count < pieces; count += 1) {
      await write(piece);
      state.taken += piece.length;
    }
  })();
  return state;
}

/** Resolves once nothing has been taken for a while; fails where more is taken than buffers hold. */
async function standstill(feeding: { readonly taken: number }): Promise<void> {
  let last = -1;
  for (let quiet = 0; quiet < 4; quiet += feeding.taken === last ? 1 : 0) {
    last = feeding.taken;
    assert.ok(last < most, `${last >> 20} MB were taken, and not read`);
    await sleep(150);
  }
}

function expected(): string {
  const hash = createHash('sha256');
  for (let count = 0; count < pieces; count += 1) hash.update(piece);
  return hash.digest('hex');
}

test('a slow reader holds a tunnel back, and finally gets all bytes', async (t) => {
  const tunnel = await makeTunnel(t);
  const client = await makeEnd(t);
  const copied = tunnel.end.pipeTo(client.end).then(() => client.end.finish());
  const feeding = feed(
    (bytes) =>
      new Promise<void>((resolve, reject) => {
        tunnel.far.send(bytes, (error) => (error ? reject(error) : resolve()));
      }),
  );
  await standstill(feeding);
  const hash = createHash('sha256');
  client.far.on('data', (bytes) => hash.update(bytes));
  await feeding.done;
  tunnel.far.close(1000);
  await once(client.far, 'end');
  await copied;
  assert.equal(hash.digest('hex'), expected());
});

test('a slow endpoint holds the client back, and finally gets all bytes', async (t) => {
  const tunnel = await makeTunnel(t);
  const client = await makeEnd(t);
  tunnel.far.pause();
  const copied = client.end.pipeTo(tunnel.end).then(() => tunnel.end.finish());
  const feeding = feed(
    (bytes) =>
      new Promise<void>((resolve, reject) => {
        client.far.write(bytes, (error) => (error ? reject(error) : resolve()));
      }),
  );
  feeding.done.then(
    () => client.far.end(),
    () => {},
  );
  await standstill(feeding);
  const hash = createHash('sha256');
  let largest = 0;
  tunnel.far.on('message', (data) => {
    const bytes = data as Buffer;
    largest = Math.max(largest, bytes.length);
    hash.update(bytes);
  });
  const closed = once(tunnel.far, 'close') as Promise<[number]>;
  tunnel.far.resume();
  await feeding.done;
  await copied;
  const [code] = await closed;
  assert.equal(code, 1000);
  assert.equal(hash.digest('hex'), expected());
  assert.ok(largest <= 65_000 && largest > 32_000, `${largest} bytes in one frame`);
});

test('splits large writes into frames of 65,000 bytes, in order', async (t) => {
  const { end, far } = await makeTunnel(t);
  const received: Buffer[] = [];
  far.on('message', (data) => received.push(data as Buffer));
  const bytes = randomBytes(200_001);
  await end.write(bytes);
  await waitFor(
    'all of it',
    15_000,
    () => received.reduce((sum, { length }) => sum + length, 0) === bytes.length,
  );
  assert.ok(Buffer.concat(received).equals(bytes));
  assert.deepEqual(
    received.map(({ length }) => length),
    [65_000, 65_000, 65_000, 5001],
  );
});

test('closes a tunnel that is no longer needed when it opens', async (t) => {
  const { cloud, aws, environment } = await setUp(t);
  const endpoint = await startEndpoint({ cloud, tls: pem });
  t.after(() => endpoint.close());
  let closed = false;
  endpoint.reception = { kind: 'open', act: (socket) => socket.on('close', () => (closed = true)) };
  const request = { vpc: demoVpc, ipv4: '10.0.0.7', port: 22 };
  const tunnel = await aws.tunnel({ environment: environment() }, request);
  const unwanted = new AbortController();
  const opening = openTunnel(tunnel, { vm: 'dev', port: 22, timeoutMs: 60_000, signal: unwanted.signal });
  opening.catch(() => {});
  await waitFor('the tunnel', 15_000, () => endpoint.tunnels.length === 1);
  unwanted.abort();
  await assert.rejects(opening, { code: 'dial-failed' });
  await waitFor('its end', 15_000, () => closed);
  await assert.rejects(
    openTunnel(tunnel, { vm: 'dev', port: 22, timeoutMs: 60_000, signal: unwanted.signal }),
  );
});

test('reports writes after the endpoint closed the tunnel as lost', async (t) => {
  const { end, far } = await makeTunnel(t);
  far.close(1000);
  assert.equal(await end.read(), undefined);
  await assert.rejects(end.write(Buffer.from('more')), { code: 'EPIPE' });
});
