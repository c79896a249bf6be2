/**
 * The agent under other clocks, driven from outside: libfaketime is preloaded into the executable, and its
 * file is replaced. The clocks of the cloud, ssh, sshd and the proxies are the real ones.
 */
import assert from 'node:assert/strict';
import { existsSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { AgentStatus } from '../../src/agent/control/protocol.ts';
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
import { library } from './faketime.ts';
import { type Child, makeWorld, mintProgram, type World, waitFor } from './world.ts';

describe('the agent under other clocks', { timeout: 300_000 }, () => {
  let world: World;
  let agent: Child;
  let clock: string;
  const host = new Host();
  before(async () => {
    world = await makeWorld({ vms: { dev: {}, other: {}, listed: {} } });
    // The agent drops the variables that name another file.
    clock = join(world.home, '.faketimerc');
  });
  afterEach(async () => {
    await world.mint('agent', 'stop');
    await waitFor('the agent to end', 15_000, () => world.agents().length === 0);
  });
  after(() => world.end());

  async function startAgent(environment: Record<string, string>): Promise<void> {
    const env = { LD_PRELOAD: library, FAKETIME_NO_CACHE: '1', ...environment };
    agent = world.start(mintProgram, ['agent'], { env, timeout: 140_000 });
    await agent.until(/the agent listens on /);
  }

  /** Sets the wall clock of the agent alone, that many seconds from the real one. */
  function setClock(seconds: number): void {
    writeFileSync(`${clock}~`, `${seconds < 0 ? '' : '+'}${seconds}\n`);
    renameSync(`${clock}~`, clock);
  }

  /** An agent whose wall clock may be set while its monotonic one goes on as ever: as in a suspend. */
  async function startWithWallClock(): Promise<void> {
    setClock(0);
    await startAgent({ FAKETIME_DONT_FAKE_MONOTONIC: '1' });
  }

  async function secondsLeft(vm: string): Promise<number | undefined> {
    const { stdout } = await world.mint('agent', 'status', '--json');
    return (JSON.parse(stdout) as AgentStatus).vms.find(({ name }) => name === vm)?.pushSecondsLeft;
  }

  const pushes = () => world.cloud.pushes.length;

  test('ends after thirty minutes without a proxy, and not while one is there', async () => {
    // A minute passes in half a second.
    rmSync(clock, { force: true });
    await startAgent({ FAKETIME: '+0 x120' });
    const proxy = await controlClient(controlPath(world));
    proxy.send(openRequest(world, 'dev', { established: true }));
    await proxy.reply('target');
    await sleep(18_000);
    assert.equal(world.agents().length, 1);
    await proxy.close();
    const left = performance.now();
    // A status request is not a proxy.
    const question = setInterval(() => void world.mint('agent', 'status'), 3000);
    try {
      const { status } = await agent.done;
      const minutes = ((performance.now() - left) * 120) / 60_000;
      assert.equal(status, 0);
      assert.ok(minutes > 28, `${minutes} minutes`);
    } finally {
      clearInterval(question);
    }
    assert.match(world.file('run/agent.log') ?? '', /ends: idle/);
    assert.ok(!existsSync(controlPath(world)));
  });

  test('after a suspend of an hour treats no push as fresh, and the session continues', async () => {
    await startWithWallClock();
    const session = world.startSsh(['dev', 'echo in; cat'], { holdInput: true, timeout: 60_000 });
    await session.until(/in\n/);
    const id = newSession();
    const proxy = await proxyConnection(world, 'other', host, id);
    const client = await keyClient(keyPath(world, 'other'));
    const [key = Buffer.alloc(0)] = await client.list();
    assert.equal(await client.sign(key, loginData({ session: id, key })), signed);
    const before = pushes();
    setClock(3600);
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
    setClock(55);
    assert.equal((await world.ssh('dev', 'true')).status, 0);
    assert.equal(pushes(), before + 1);
  });

  test('with its clock set back an hour, a push lasts as long as it does, and no longer', async () => {
    await startWithWallClock();
    assert.equal((await world.ssh('dev', 'true')).status, 0);
    const before = pushes();
    setClock(-3600);
    const left = await secondsLeft('dev');
    assert.ok(left !== undefined && left <= 50, `${left} s`);
    assert.equal((await world.ssh('dev', 'true')).status, 0);
    assert.equal(pushes(), before);
    await sleep(51_000);
    assert.equal(await secondsLeft('dev'), undefined);
    assert.equal((await world.ssh('dev', 'true')).status, 0);
    assert.equal(pushes(), before + 1);
  });

  test('with its clock going back and forth, every login works', async () => {
    await startWithWallClock();
    for (const seconds of [3600, -3600, 86_400, 0]) {
      setClock(seconds);
      const { status, stderr } = await world.ssh('dev', 'true');
      assert.equal(status, 0, `${seconds}: ${stderr}`);
    }
  });

  test('with its clock set right a moment after AWS was asked, the next login works at once', async () => {
    await startWithWallClock();
    setClock(-3600);
    assert.equal((await world.ssh('dev', 'true')).status, 0);
    const before = pushes();
    setClock(0);
    const { status, stderr } = await world.ssh('dev', 'true');
    assert.equal(status, 0, stderr);
    assert.equal(pushes(), before + 1);
  });

  test('a key that a client listed waits two minutes for its connection, and is then another', async () => {
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
    setClock(60);
    const listed = await list();
    setClock(60 + 110);
    assert.equal(await list(), listed);
    setClock(60 + 110 + 130);
    assert.notEqual(await list(), listed);
  });
});
