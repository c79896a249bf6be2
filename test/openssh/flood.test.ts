import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { connected, controlClient, controlPath, keyClient, keyPath } from '../agent/clients.ts';
import { descriptors, garbageMegabytes, megabytes } from '../agent/memory.ts';
import { stranger } from '../agent/strangers.ts';
import { makeWorld, type World, waitFor } from './world.ts';

describe('the agent with many other clients', { timeout: 300_000 }, () => {
  let world: World;
  let pid: number;
  before(async () => {
    world = await makeWorld();
    assert.equal((await world.ssh('dev', 'true')).status, 0);
    pid = world.agents()[0]?.pid ?? 0;
  });
  after(() => world.end());

  test('survives ten thousand on both sockets, serves logins, and releases its memory', async (context) => {
    const before = { memory: megabytes(pid), descriptors: descriptors(pid) };
    const startedAt = performance.now();
    const stayed: Socket[] = [];
    let most = 0;
    for (let batch = 0; batch < 100; batch += 1) {
      const crowd = await Promise.all(
        Array.from({ length: 100 }, (_, index) =>
          stranger(world, batch * 100 + index).catch(() => undefined),
        ),
      );
      for (const [index, socket] of crowd.entries()) {
        // Half of them stay as long as they may.
        if (socket !== undefined && index % 4 < 2) stayed.push(socket);
        else socket?.destroy();
      }
      most = Math.max(most, descriptors(pid));
      if (batch % 25 !== 10) continue;
      const { status, stderr } = await world.ssh('dev', 'true');
      assert.equal(status, 0, stderr);
    }
    const took = performance.now() - startedAt;
    assert.ok(took < 240_000);
    assert.equal(world.agents()[0]?.pid, pid);
    assert.ok(most < before.descriptors + 2 * 128 + 150, `${most} descriptors`);
    for (const socket of stayed) socket.destroy();
    await waitFor('the descriptors to return', 15_000, () => descriptors(pid) <= before.descriptors + 4);
    await sleep(1000);
    assert.equal((await world.ssh('dev', 'true')).status, 0);
    const grown = megabytes(pid) - before.memory;
    context.diagnostic(
      `${Math.round(took)} ms, at most ${most} descriptors, memory ${before.memory.toFixed(1)} MB and ${grown.toFixed(1)} MB more`,
    );
    assert.ok(grown < garbageMegabytes, `${grown} MB`);
  });

  test('serves a login at once beside two hundred idle ones on each socket', async () => {
    const crowd = await Promise.all(
      Array.from({ length: 400 }, (_, index) => stranger(world, index * 8 + (index % 2))),
    );
    const { status, stderr, milliseconds } = await world.ssh('dev', 'true');
    assert.equal(status, 0, stderr);
    assert.ok(milliseconds < 60_000, `${milliseconds} ms`);
    await waitFor('the crowd to thin', 15_000, () => crowd.filter((socket) => !socket.closed).length <= 256);
    for (const socket of crowd) socket.destroy();
  });

  test('closes control connections that send nothing for ten seconds, and keeps active ones', async () => {
    const idle = await connected(controlPath(world));
    idle.resume();
    const talker = await keyClient(keyPath(world, 'dev'));
    await talker.list();
    const startedAt = performance.now();
    await once(idle, 'close');
    const waited = performance.now() - startedAt;
    assert.ok(waited > 9000 && waited < 60_000, `${waited} ms`);
    assert.equal((await talker.list()).length, 1);
    talker.close();
    const status = await controlClient(controlPath(world));
    status.send({ type: 'status' });
    await status.reply('status');
    await status.close();
  });
});
