/** A long session with fast clocks, and one on a machine that was suspended. */
import assert from 'node:assert/strict';
import { renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, describe, test } from 'node:test';
import { libfaketime } from '../programs.ts';
import { type Child, makeWorld, mintProgram, type World, waitFor } from './world.ts';

const day = 86_400;

describe('a session', { timeout: 300_000 }, () => {
  let world: World;
  let clock: string;
  before(async () => {
    world = await makeWorld({
      vms: { dev: {}, strict: { sshdLines: ['ClientAliveInterval 1', 'ClientAliveCountMax 1'] } },
    });
    // The agent drops the variables that name another file.
    clock = join(world.home, '.faketimerc');
    setClock('+0');
  });
  afterEach(async () => {
    await world.mint('agent', 'stop');
    await waitFor('the agent to end', 15_000, () => world.agents().length === 0);
  });
  after(() => world.end());

  /** For those who were started with `faked`. */
  function setClock(time: string): void {
    writeFileSync(`${clock}~`, `${time}\n`);
    renameSync(`${clock}~`, clock);
  }
  const faked = () => ({ LD_PRELOAD: libfaketime, FAKETIME_NO_CACHE: '1', FAKETIME_TIMESTAMP_FILE: clock });
  async function startAgent(env: Record<string, string>): Promise<Child> {
    const agent = world.start(mintProgram, ['agent'], { env, timeout: 110_000 });
    await agent.until(/the agent listens on /, 60_000);
    return agent;
  }
  async function openSession(vm: string, env: Record<string, string>): Promise<Child> {
    const session = world.startSsh([vm, 'echo in; cat'], { holdInput: true, timeout: 110_000, env });
    await session.until(/in\n/, 60_000);
    return session;
  }
  async function answers(session: Child, word: string): Promise<void> {
    session.stdin.write(`${word}\n`);
    await session.until(new RegExp(`^${word}$`, 'm'));
  }
  const logins = () =>
    (world.file('audit.log') ?? '')
      .split('\n')
      .filter((line) => line.includes('"login"'))
      .map((line) => Date.parse(JSON.parse(line).timestamp));

  test('lasts a day, and so does the agent, which then serves the next login', async () => {
    const agent = await startAgent(faked());
    const session = await openSession('dev', faked());
    const pushes = world.cloud.pushes.length;
    // A day in five seconds, for the proxy and the agent; the VM's clock and the network's are the real ones.
    const startedAt = performance.now();
    setClock(`+0 x${day / 5}`);
    let words = 0;
    while (performance.now() - startedAt < 5_500) {
      words += 1;
      await answers(session, `word-${words}`);
      await new Promise((resolve) => setTimeout(resolve, 500));
    }
    // From here on at the normal pace, later than everything before.
    setClock(`+${30 * day} x1`);
    await answers(session, 'still here');
    const { status, stderr } = await world.ssh('dev', 'true');
    assert.equal(status, 0, stderr);
    assert.equal(world.cloud.pushes.length, pushes + 1);
    assert.deepEqual(
      world.agents().map(({ pid }) => pid),
      [agent.pid],
    );
    const [first = 0, second = 0] = logins();
    assert.ok(second - first > day * 1000, `${second - first} ms`);
    session.stdin.end();
    const ended = await session.done;
    assert.deepEqual([ended.status, ended.stderr], [0, '']);
    setClock('+0');
  });

  /** Suspends the machine: all processes stop, the wall clock continues, and the monotonic one stops. */
  async function sleepThrough(
    sessions: readonly Child[],
    agent: Child,
    action: () => Promise<void>,
  ): Promise<void> {
    for (const each of [...sessions, agent]) each.kill('SIGSTOP');
    await action();
    setClock(`+${day / 3}`);
    for (const each of [agent, ...sessions]) each.kill('SIGCONT');
  }

  test('on a suspended laptop continues if the VM has waited, and ends if it has not', async () => {
    setClock('+0');
    const env = { ...faked(), FAKETIME_DONT_FAKE_MONOTONIC: '1' };
    const agent = await startAgent(env);
    const patient = await openSession('dev', env);
    const dropped = await openSession('strict', env);
    const pushes = world.cloud.pushes.length;
    await sleepThrough([patient, dropped], agent, async () => {
      await waitFor('the VM to give up', 30_000, () =>
        /Timeout, client not responding/.test(world.sshd('strict').log()),
      );
    });
    await answers(patient, 'awake');
    const { status, stderr } = await dropped.done;
    assert.equal(status, 255);
    assert.match(stderr, /closed|reset|broke/i);
    for (const vm of ['dev', 'strict']) {
      const login = await world.ssh(vm, 'echo in');
      assert.deepEqual([login.status, login.stdout], [0, 'in\n'], login.stderr);
    }
    // No push from before the suspend counts as valid.
    assert.equal(world.cloud.pushes.length, pushes + 2);
    patient.stdin.end();
    assert.equal((await patient.done).status, 0);
    setClock('+0');
  });
});
