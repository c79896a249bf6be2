import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import { after, describe, test } from 'node:test';
import { dialTarget } from '../../src/proxy/connect.ts';
import { EarlyDial } from '../../src/proxy/routes/direct.ts';
import { freePort } from '../openssh/sshd.ts';

const host = '127.0.0.1';
const listeners: net.Server[] = [];
const sockets: net.Socket[] = [];
after(() => {
  for (const socket of sockets) socket.destroy();
  for (const listener of listeners) listener.close();
});

/** A server that greets and counts its clients. */
async function greeter(): Promise<{ port: number; visits: number; leaving: Promise<unknown> }> {
  const left = Promise.withResolvers<unknown>();
  const listener = net.createServer((socket) => {
    found.visits += 1;
    sockets.push(socket);
    socket.on('error', () => {}).once('close', left.resolve);
    socket.on('data', (bytes) => left.reject(new Error(`heard ${bytes}`)));
    socket.write(`visit ${found.visits}`);
  });
  listeners.push(listener);
  await once(listener.listen(0, host), 'listening');
  const found = { port: (listener.address() as net.AddressInfo).port, visits: 0, leaving: left.promise };
  return found;
}

function dial(port: number, early: EarlyDial | undefined) {
  const candidates = [{ kind: 'public', host }] as const;
  const agent = { tunnel: () => Promise.reject(new Error('no tunnel')) };
  return dialTarget({ vm: 'dev', runDir: '/nowhere', agent, early }, { candidates, port }, 15_000);
}

describe('an early dial of the last address', { timeout: 300_000 }, () => {
  test('becomes the connection if the agent returns the same address', async () => {
    const server = await greeter();
    const { server: end } = await dial(server.port, new EarlyDial({ host, port: server.port }));
    assert.equal((await end.read())?.toString(), 'visit 1');
    assert.equal(server.visits, 1);
    end.destroy();
  });

  test('is closed without sending anything if the agent returns another address', async () => {
    const [old, current] = [await greeter(), await greeter()];
    const early = new EarlyDial({ host, port: old.port });
    const { server: end } = await dial(current.port, early);
    assert.equal((await end.read())?.toString(), 'visit 1');
    assert.equal(current.visits, 1);
    await old.leaving;
    end.destroy();
  });

  test('is closed at once; a later dial of that address is a new connection', async () => {
    const [old, current] = [await greeter(), await greeter()];
    const early = new EarlyDial({ host, port: old.port });
    const { server: end } = await dial(current.port, early);
    const { server: again } = await dial(old.port, early);
    assert.equal((await again.read())?.toString(), 'visit 2');
    end.destroy();
    again.destroy();
  });

  test('is used once; the second time the address is dialled', async () => {
    const server = await greeter();
    const early = new EarlyDial({ host, port: server.port });
    const [first, second] = [await dial(server.port, early), await dial(server.port, early)];
    assert.equal((await first.server.read())?.toString(), 'visit 1');
    assert.equal((await second.server.read())?.toString(), 'visit 2');
    first.server.destroy();
    second.server.destroy();
  });

  test('does not count if it failed: the address is dialled again', async () => {
    const server = await greeter();
    const port = await freePort();
    const early = new EarlyDial({ host, port });
    // The dial has failed by now, because a later connection is established.
    await once(net.connect(server.port, host), 'data');
    const again = net.createServer((socket) => socket.end('here now'));
    listeners.push(again);
    await once(again.listen(port, host), 'listening');
    const { server: end } = await dial(port, early);
    assert.equal((await end.read())?.toString(), 'here now');
    end.destroy();
  });

  test('is closed after a while if it is not used', async () => {
    const server = await greeter();
    const early = new EarlyDial({ host, port: server.port });
    await server.leaving;
    const { server: end } = await dial(server.port, early);
    assert.equal((await end.read())?.toString(), 'visit 2');
    end.destroy();
  });
});
