import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { makeWorld, type World } from './world.ts';

describe('start and stop', { timeout: 300_000 }, () => {
  let world: World;
  before(async () => {
    world = await makeWorld();
  });
  after(() => world.end());

  const state = () => world.cloud.instances.get(world.vm('dev').instance)?.state;

  test('stop stops the instance, start starts it, and both return when it is done', async () => {
    const stopped = await world.mint('stop', 'dev');
    assert.equal(stopped.status, 0, stopped.stderr);
    assert.equal(state(), 'stopped');
    assert.match(stopped.stderr, /^mint-ssh: dev \(i-\w+\) is stopped\n$/);
    const again = await world.mint('stop', 'dev');
    assert.match(again.stderr, /is stopped already/);
    const started = await world.mint('start', 'dev');
    assert.equal(started.status, 0, started.stderr);
    assert.equal(state(), 'running');
    assert.match((await world.mint('start', 'dev')).stderr, /is running already/);
  });

  test('a VM that does not exist, and a missing name, are errors', async () => {
    const unknown = await world.mint('start', 'nosuch');
    assert.equal(unknown.status, 1);
    assert.match(unknown.stderr, /nosuch \(vm-not-found\)/);
    const missing = await world.mint('stop');
    assert.equal(missing.status, 2);
    assert.match(missing.stderr, /missing argument: VM \(usage\)/);
  });
});
