import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { chownSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { ForwardSocket } from '../../src/agent/forward-socket.ts';
import { isOurs, upstreamSocket, userAgentSocket } from '../../src/platform/user-agent-socket.ts';
import { encodeByte, encodeString } from '../../src/ssh/wire.ts';
import { waitFor } from '../openssh/child.ts';
import { connected } from './clients.ts';

describe('a forwarded socket', { timeout: 180_000 }, () => {
  let directory: string;
  let run: string;
  let upstreamPath: string;
  let upstream: string | undefined;
  let forward: ForwardSocket;
  let servers: Server[];
  let accepted: Socket[];
  beforeEach(async () => {
    directory = mkdtempSync('/tmp/mf-');
    run = join(directory, 'run');
    mkdirSync(run, { mode: 0o700 });
    upstreamPath = join(directory, 'agent');
    upstream = upstreamPath;
    servers = [];
    accepted = [];
    const path = join(run, 'forward.sock');
    forward = new ForwardSocket({ path, runDirectory: run, log: () => {}, route: async () => upstream });
    await forward.ensure();
  });
  afterEach(() => {
    forward.close();
    for (const server of servers) server.close();
    for (const socket of accepted) socket.destroy();
    rmSync(directory, { recursive: true, force: true });
  });

  async function serveUpstream(accept: (socket: Socket) => void, path = upstreamPath): Promise<Server> {
    const server = createServer({ allowHalfOpen: true }, (socket) => {
      accepted.push(socket);
      socket.on('error', () => {});
      accept(socket);
    });
    servers.push(server);
    await once(server.listen(path), 'listening');
    return server;
  }
  const client = () => connected(join(run, 'forward.sock'));
  const halfOpenClient = async () => {
    const socket = connect({ path: join(run, 'forward.sock'), allowHalfOpen: true });
    await once(socket, 'connect');
    return socket;
  };
  const readAll = async (socket: Socket) => Buffer.concat(await socket.toArray());

  test('passes all bytes unchanged, in both directions at once', async () => {
    await serveUpstream((socket) => socket.pipe(socket));
    const bytes = randomBytes(5_000_000);
    const socket = await halfOpenClient();
    socket.end(bytes);
    const digest = (of: Buffer) => createHash('sha256').update(of).digest('hex');
    assert.equal(digest(await readAll(socket)), digest(bytes));
  });

  test('a client that has ended its side still gets answers, and an agent that has ended its side is still heard', async () => {
    await serveUpstream((socket) => {
      let heard = 0;
      socket.on('data', (chunk) => {
        heard += chunk.length;
      });
      socket.once('end', () => socket.end(`heard ${heard}`));
    });
    const asking = await halfOpenClient();
    asking.end('hello');
    assert.equal(String(await readAll(asking)), 'heard 5');

    await new Promise((resolve) => servers.pop()?.close(resolve));
    let heard = '';
    await serveUpstream((socket) => {
      socket.end('first');
      socket.on('data', (chunk) => {
        heard += chunk;
      });
    });
    const told = await halfOpenClient();
    told.write('hello ');
    assert.equal(String(await readAll(told)), 'first');
    told.end('second');
    await waitFor('the rest', 15_000, () => heard === 'hello second');
  });

  test('a slow reader holds the other side back, without growing our memory', async () => {
    let sent = 0;
    await serveUpstream((socket) => {
      const piece = Buffer.alloc(65_536);
      const more = () => {
        while (sent < 1 << 30) {
          sent += piece.length;
          if (!socket.write(piece)) return void socket.once('drain', more);
        }
      };
      more();
    });
    const socket = await client();
    socket.pause();
    await new Promise((resolve) => setTimeout(resolve, 300));
    assert.ok(sent < 8_000_000, `${sent} bytes`);
    socket.destroy();
  });

  test('closes one end when the other is closed', async () => {
    await serveUpstream((socket) => socket.resume());
    const socket = await client();
    socket.write('hello');
    await waitFor('the connection', 15_000, () => accepted.length === 1);
    accepted[0]?.destroy();
    await once(socket.resume(), 'close');
    const second = await client();
    second.write('hello');
    await waitFor('the connection', 15_000, () => accepted.length === 2);
    const ended = once(accepted[1] as Socket, 'end');
    second.destroy();
    await ended;
  });

  const empty: Record<string, () => Promise<void> | void> = {
    'no agent': () => {
      upstream = undefined;
    },
    'a dead socket': async () => {
      const server = await serveUpstream(() => {});
      // The name of a listener that was killed stays.
      server.close();
      writeFileSync(upstreamPath, '');
    },
    'no socket at that path': () => {},
  };
  for (const [what, prepare] of Object.entries(empty)) {
    test(`${what} acts as an agent without keys`, async () => {
      await prepare();
      const socket = await client();
      const replies: Buffer[] = [];
      socket.on('data', (chunk) => replies.push(chunk));
      const list = encodeString(encodeByte(11));
      // In pieces and together: frames are frames.
      socket.write(list.subarray(0, 3));
      socket.write(Buffer.concat([list.subarray(3), list]));
      const answer = '000000050c00000000';
      await waitFor('two answers', 15_000, () => Buffer.concat(replies).toString('hex') === answer.repeat(2));
      replies.length = 0;
      socket.write(encodeString(Buffer.concat([encodeByte(27), encodeString('session-bind@openssh.com')])));
      await waitFor('a failure', 15_000, () => Buffer.concat(replies).toString('hex') === '0000000105');
      const closed = once(socket, 'close');
      socket.write(Buffer.from([0xff, 0xff, 0xff, 0xff]));
      await closed;
    });
  }

  test('refuses more than 256 connections at once, and accepts new ones when others end', async () => {
    await serveUpstream((socket) => socket.pipe(socket));
    const speak = async () => {
      const socket = await client();
      socket.write('hello');
      const answered = await new Promise<boolean>((resolve) => {
        socket.once('data', () => resolve(true)).once('close', () => resolve(false));
      });
      return { socket, answered };
    };
    const inside: Socket[] = [];
    for (let count = 0; count < 256; count += 1) {
      const { socket, answered } = await speak();
      assert.ok(answered, `${count}`);
      inside.push(socket);
    }
    assert.ok(!(await speak()).answered);
    const closed = inside.map((socket) => once(socket, 'close'));
    for (const socket of inside) socket.destroy();
    await Promise.all(closed);
    for (let tries = 0; tries < 50; tries += 1) {
      const { socket, answered } = await speak();
      socket.destroy();
      if (answered) return;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    assert.fail('no new connection is accepted');
  });

  test('evicts silent connections for active ones', async () => {
    await serveUpstream((socket) => socket.pipe(socket));
    const silent = await Promise.all(Array.from({ length: 200 }, client));
    const socket = await client();
    socket.write('hello');
    assert.equal(String((await once(socket, 'data'))[0]), 'hello');
    for (const each of [...silent, socket]) each.destroy();
  });

  test('connects only to a socket of the user outside our own directory', async () => {
    await serveUpstream(() => {});
    assert.equal(upstreamSocket(upstreamPath, run), upstreamPath);
    symlinkSync(upstreamPath, join(directory, 'link'));
    assert.equal(upstreamSocket(join(directory, 'link'), run), upstreamPath);
    symlinkSync(join(run, 'forward.sock'), join(directory, 'loop'));
    symlinkSync(directory, join(directory, 'round'));
    for (const path of [
      join(run, 'forward.sock'),
      join(directory, 'loop'),
      join(directory, 'round/run/forward.sock'),
      `${directory}/./x/../run/forward.sock`,
      directory,
      '/etc/passwd',
      '/dev/null',
      'agent',
      '',
      join(directory, 'nowhere'),
      `${upstreamPath}\0`,
      `/${'x'.repeat(5000)}`,
    ])
      assert.equal(upstreamSocket(path, run), undefined, path);
  });

  test('does not connect to another user’s socket', async (context) => {
    if (process.getuid?.() !== 0) {
      // Only root can change the owner of a file.
      context.skip('not shown here: this needs root');
      return;
    }
    await serveUpstream(() => {});
    chownSync(upstreamPath, 65_534, 65_534);
    assert.equal(upstreamSocket(upstreamPath, run), undefined);
  });

  test('the proxy reports the SSH_AUTH_SOCK that is not ours, from its own environment or that of its ssh', () => {
    const ours = join(run, 'agent/dev.sock');
    assert.ok(isOurs(ours, run));
    assert.ok(!isOurs(`${run}-2/agent/dev.sock`, run));
    assert.equal(userAgentSocket(run, { SSH_AUTH_SOCK: '/tmp/a' }), '/tmp/a');
    assert.equal(userAgentSocket(run, {}), undefined);
    assert.equal(userAgentSocket(run, { SSH_AUTH_SOCK: '' }), undefined);
    // No such process.
    assert.equal(userAgentSocket(run, { SSH_AUTH_SOCK: ours }, 2 ** 22 + 1), undefined);
  });
});
