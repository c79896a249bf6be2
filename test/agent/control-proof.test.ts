/** Client and agent prove to each other that they belong to the same user. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import net from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { proveToAgent, serveProven } from '../../src/agent/control/proof.ts';
import { ownDirectory, refusal } from '../platform/directory.ts';
import { fc } from '../property.ts';

const name = '\\\\.\\pipe\\mint-ssh-0';

interface Ends {
  /** Connects, as a client or as another program. */
  connect(): Promise<net.Socket>;
  /** The connections that the agent served, and the bytes it received. */
  readonly served: net.Socket[];
  heard(): string;
}

/** An agent with a secret, which sends a greeting to clients that it serves. */
async function agent(context: TestContext, secret: Buffer, control = name): Promise<Ends> {
  const path = join(ownDirectory(context), 's');
  const served: net.Socket[] = [];
  let heard = '';
  const server = net.createServer((socket) => {
    context.after(() => socket.destroy());
    socket.on('error', () => {});
    const serve = (proven: net.Socket) => {
      served.push(proven);
      proven.on('data', (bytes) => {
        heard += bytes.toString();
      });
      proven.write('greeting\n');
    };
    serveProven(socket, { control, run: '/nowhere' }, serve, secret);
  });
  server.listen(path);
  await once(server, 'listening');
  context.after(() => server.close());
  return {
    served,
    heard: () => heard,
    async connect() {
      const socket = net.connect(path);
      socket.on('error', () => {});
      context.after(() => socket.destroy());
      await once(socket, 'connect');
      return socket;
    },
  };
}

/** All bytes until the end. */
async function readAll(socket: net.Socket): Promise<string> {
  let said = '';
  socket.on('data', (bytes) => {
    said += bytes.toString();
  });
  socket.resume();
  await once(socket, 'close');
  return said;
}

test('with the same secret both sides continue, and no later bytes are lost', {
  timeout: 180_000,
}, async (context) => {
  const secret = randomBytes(32);
  const ends = await agent(context, secret);
  const socket = await ends.connect();
  await proveToAgent(socket, secret, name);
  socket.write('{"type":"status"}\n');
  const [greeting] = (await once(socket.resume(), 'data')) as [Buffer];
  assert.equal(greeting.toString(), 'greeting\n');
  socket.end();
  await once(ends.served[0] ?? assert.fail(), 'end');
  assert.equal(ends.heard(), '{"type":"status"}\n');
});

test('a client sends another program only a random number', { timeout: 180_000 }, async (context) => {
  const secret = randomBytes(32);
  for (const impostor of [
    await agent(context, randomBytes(32)),
    // The right secret, for another pipe: the proof is valid for one pipe only.
    await agent(context, secret, '\\\\.\\pipe\\mint-ssh-1'),
  ]) {
    const socket = await impostor.connect();
    await assert.rejects(
      proveToAgent(socket, secret, name),
      refusal('unsafe-permissions', /is not your agent/),
    );
    assert.ok(socket.destroyed);
    assert.deepEqual(impostor.served, []);
  }
});

test('a client refuses the answer of any other server', { timeout: 180_000 }, async (context) => {
  const zeros = '0'.repeat(64);
  const path = join(ownDirectory(context), 's');
  let answer: (client: string) => string = () => '';
  const heard: string[] = [];
  const server = net.createServer((socket) => {
    context.after(() => socket.destroy());
    socket.on('error', () => {});
    socket.once('data', (bytes) => {
      heard.push(bytes.toString());
      socket.write(answer(bytes.toString().trim()));
    });
  });
  server.listen(path);
  await once(server, 'listening');
  context.after(() => server.close());
  const answers: ((client: string) => string)[] = [
    () => '\n',
    () => `${zeros} ${zeros}\n`,
    () => `${zeros}${zeros}\n`,
    // The client's own bytes.
    (client) => `${client} ${client}\n`,
    () => `${'x'.repeat(200)}`,
    () => `${zeros} ${zeros}${'0'.repeat(64)}\n`,
    () => '{"type":"status"}\n',
  ];
  for (const each of answers) {
    answer = each;
    const socket = net.connect(path);
    context.after(() => socket.destroy());
    socket.on('error', () => {});
    await once(socket, 'connect');
    await assert.rejects(proveToAgent(socket, randomBytes(32), name), refusal('unsafe-permissions'));
  }
  for (const said of heard) assert.match(said, /^[0-9a-f]{64}\n$/);
});

test('a client tries again if the agent just ended', {
  timeout: 180_000,
}, async (context) => {
  const path = join(ownDirectory(context), 's');
  const server = net.createServer((socket) => socket.destroy());
  server.listen(path);
  await once(server, 'listening');
  context.after(() => server.close());
  const socket = net.connect(path);
  // The client sees a failed write, and tries again too.
  socket.on('error', () => {});
  await once(socket, 'connect');
  await assert.rejects(proveToAgent(socket, randomBytes(32), name), { code: 'ECONNRESET' });
});

test('an agent sends its own proof once, and serves no client without a proof', {
  timeout: 180_000,
}, async (context) => {
  const secret = randomBytes(32);
  const ends = await agent(context, secret);
  const zeros = '0'.repeat(64);
  const whole = await ends.connect();
  whole.write(`${zeros}\n${zeros}\n{"type":"status"}\n`);
  assert.match(await readAll(whole), /^[0-9a-f]{64} [0-9a-f]{64}\n$/);
  // The agent's own proof, sent back to it.
  const mirror = await ends.connect();
  mirror.write(`${zeros}\n`);
  const [line] = (await once(mirror, 'data')) as [Buffer];
  mirror.write(`${line.toString().trim().split(' ')[1]}\n`);
  await readAll(mirror);
  assert.deepEqual(ends.served, []);
});

test('an agent answers and serves no other bytes', { timeout: 180_000 }, async (context) => {
  const ends = await agent(context, randomBytes(32));
  const lines = fc.oneof(
    fc.uint8Array({ maxLength: 400 }).map((bytes) => Buffer.from(bytes)),
    fc.stringMatching(/^[0-9a-f]{60,70}\n?$/).map((text) => Buffer.from(text)),
    fc.constantFrom('\n', 'G'.repeat(64), '{"type":"open"}\n').map((text) => Buffer.from(text)),
  );
  await fc.assert(
    fc.asyncProperty(lines, async (bytes) => {
      const socket = await ends.connect();
      socket.end(bytes);
      const said = await readAll(socket);
      // The agent answers every well-formed start with its half.
      assert.ok(said === '' || /^[0-9a-f]{64} [0-9a-f]{64}\n$/.test(said), said);
      assert.deepEqual(ends.served, []);
    }),
    { numRuns: 200 },
  );
});

test('on Unix there is no secret, and every client is served', () => {
  const socket = new net.Socket();
  let served: net.Socket | undefined;
  serveProven(socket, { control: name, run: '/nowhere' }, (proven) => {
    served = proven;
  });
  assert.equal(served, socket);
});
