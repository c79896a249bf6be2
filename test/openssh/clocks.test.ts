/**
 * The agent under other clocks, driven from outside: libfaketime is preloaded into the executable, and its
 * file is replaced. The clocks of the cloud, ssh, sshd and the proxies are the real ones.
 */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, describe, test } from 'node:test';
import {
  controlClient,
  controlPath,
  failure,
  Host,
  keyClient,
  keyPath,
  loginData,
  newSession,
  openRequest,
  proxyConnection,
  signed,
} from '../agent/clients.ts';
import { MovableClock } from './faketime.ts';
import { type Child, makeWorld, mintProgram, type World, waitFor } from './world.ts';

const minute = 60;

describe('the agent under other clocks', { timeout: 300_000 }, () => {
  let world: World;
  let agent: Child;
  let clock: MovableClock;
  const host = new Host();
  before(async () => {
    world = await makeWorld({ vms: { dev: {}, other: {}, listed: {} } });
    clock = new MovableClock(join(world.home, '.faketimerc'));
  });
  afterEach(async () => {
    await world.mint('agent', 'stop');
    await waitFor('the agent to end', 15_000, () => world.agents().length === 0);
  });
  after(() => world.end());

  async function startAgent(env: Record<string, string>): Promise<void> {
    clock.set(0);
    agent = world.start(mintProgram, ['agent'], { env, timeout: 140_000 });
    await agent.until(/the agent listens on /);
  }

  /** An agent whose wall clock can be set independently of the monotonic one, as in a suspend. */
  async function startWithWallClock(): Promise<void> {
    await startAgent(clock.wallClockOnly);
  }

  async function secondsLeft(vm: string): Promise<number | undefined> {
    const { stdout } = await world.mint('agent', 'status', '--json');
    const { vms } = JSON.parse(stdout) as { vms: { vm: string; push_seconds_left: number | null }[] };
    return vms.find((one) => one.vm === vm)?.push_seconds_left ?? undefined;
  }

  const pushes = () => world.cloud.pushes.length;

  test('ends after thirty minutes without a proxy, and not while one is connected', async () => {
    await startAgent(clock.environment);
    const status = async () => {
      const { stdout } = await world.mint('agent', 'status', '--json');
      return JSON.parse(stdout) as { connections: number } | null;
    };
    const proxy = await controlClient(controlPath(world));
    proxy.send(openRequest(world, 'dev', { established: true }));
    await proxy.reply('target');
    clock.set(36 * minute);
    // The first request makes due timers run. The second would find no agent.
    for (const _ of [1, 2]) assert.equal((await status())?.connections, 1);
    await proxy.close();
    for (let left = 1; left > 0; ) left = (await status())?.connections ?? assert.fail('the agent ended');
    // A status request is not a proxy: it does not begin another half hour.
    clock.set((36 + 29) * minute);
    for (const _ of [1, 2]) assert.equal((await status())?.connections, 0);
    clock.set((36 + 31) * minute);
    await world.mint('agent', 'status');
    assert.equal((await agent.done).status, 0);
    assert.match(world.file('run/agent.log') ?? '', /ends: idle/);
    assert.ok(!existsSync(controlPath(world)));
  });

  test('after a suspend of an hour treats no push as valid, and the session continues', async () => {
    await startWithWallClock();
    const session = world.startSsh(['dev', 'echo in; cat'], { holdInput: true, timeout: 60_000 });
    await session.until(/in\n/);
    const id = newSession();
    const proxy = await proxyConnection(world, 'other', host, id);
    const client = await keyClient(keyPath(world, 'other'));
    const [key = Buffer.alloc(0)] = await client.list();
    assert.equal(await client.sign(key, loginData({ session: id, key })), signed);
    const before = pushes();
    clock.set(3600);
    assert.equal(await secondsLeft('dev'), undefined);
    assert.equal(await secondsLeft('other'), undefined);
    assert.equal(await client.sign(key, loginData({ session: id, key })), failure);
    const { status, stderr } = await world.ssh('dev', 'true');
    assert.equal(status, 0, stderr);
    assert.equal(pushes(), before + 1);
    session.stdin.write('still here\n');
    await session.until(/still here\n/);
    session.stdin.end();
    await session.done;
    client.close();
    await proxy.close();
  });

  test('after a suspend of fifty-five seconds pushes again, though the VM would still accept the key', async () => {
    await startWithWallClock();
    assert.equal((await world.ssh('dev', 'true')).status, 0);
    const before = pushes();
    clock.set(55);
    assert.equal((await world.ssh('dev', 'true')).status, 0);
    assert.equal(pushes(), before + 1);
  });

  // That it then expires by the monotonic clock is shown without waiting: test/agent/key-memory.test.ts.
  test('with its clock set back an hour, a push lasts no longer than before', async () => {
    await startWithWallClock();
    assert.equal((await world.ssh('dev', 'true')).status, 0);
    const before = pushes();
    clock.set(-3600);
    const left = await secondsLeft('dev');
    assert.ok(left !== undefined && left <= 50, `${left} s`);
    assert.equal((await world.ssh('dev', 'true')).status, 0);
    assert.equal(pushes(), before);
  });

  test('with a clock that jumps back and forth, every login works', async () => {
    await startWithWallClock();
    for (const seconds of [3600, -3600, 86_400, 0]) {
      clock.set(seconds);
      const { status, stderr } = await world.ssh('dev', 'true');
      assert.equal(status, 0, `${seconds}: ${stderr}`);
    }
  });

  test('with its clock corrected right after a call to AWS, the next login works at once', async () => {
    await startWithWallClock();
    clock.set(-3600);
    assert.equal((await world.ssh('dev', 'true')).status, 0);
    const before = pushes();
    clock.set(0);
    const { status, stderr } = await world.ssh('dev', 'true');
    assert.equal(status, 0, stderr);
    assert.equal(pushes(), before + 1);
  });

  test('a key that a client listed is kept two minutes for its connection, and then replaced', async () => {
    await startWithWallClock();
    const earlier = await proxyConnection(world, 'listed', host, newSession());
    await earlier.close();
    const list = async () => {
      const client = await keyClient(keyPath(world, 'listed'));
      const [key] = await client.list();
      client.close();
      return key?.toString('base64');
    };
    // Past the push's own fifty seconds, so that the list alone is what keeps it.
    clock.set(60);
    const listed = await list();
    clock.set(60 + 110);
    assert.equal(await list(), listed);
    clock.set(60 + 110 + 130);
    assert.notEqual(await list(), listed);
  });
});
