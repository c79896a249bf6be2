import assert from 'node:assert/strict';
import { test } from 'node:test';
import { makeWorld, type Result, type World, waitFor } from './world.ts';

const timing = ['-o', 'LogLevel=ERROR'];

async function logInAtOnce(world: World, count: number): Promise<Result[]> {
  const sessions = Array.from({ length: count }, (_, index) =>
    world.startSsh([...timing, 'dev', `echo ${index}; sleep 0.2`], { timeout: 60_000 }),
  );
  return await Promise.all(sessions.map(({ done }) => done));
}

function assertAllIn(results: readonly Result[]): void {
  const failed = results.filter(({ status, stdout }, index) => status !== 0 || stdout !== `${index}\n`);
  assert.deepEqual(
    failed.map(({ status, stderr }) => ({ status, stderr })),
    [],
  );
}

test('thirty first logins at once, with no agent running: one agent, and at most two pushes', async (context) => {
  const world = await makeWorld();
  const pids = new Set<number>();
  const watch = setInterval(() => {
    for (const { pid } of world.agents()) pids.add(pid);
  }, 200);
  try {
    assert.equal(world.agents().length, 0);
    const results = await logInAtOnce(world, 30);
    assertAllIn(results);
    const agents = world.agents();
    assert.equal(agents.length, 1);
    assert.ok(pids.size > 0);
    assert.equal(world.sshd('dev').accepted(), 30);
    assert.ok(world.cloud.pushes.length <= 2, `${world.cloud.pushes.length} pushes`);
    const asked = world.cloud.requests.filter(({ operation }) => operation === 'SendSSHPublicKey');
    assert.ok(asked.length <= 2, `${asked.length} requests`);
    // An agent that lost the race for the lock may still be running.
    assert.ok(pids.size <= 2, `${pids.size} agents were seen`);
    assert.equal(world.file('known_hosts'), `dev=${world.sshd('dev').hostKey.fingerprint}\n`);
    const slowest = Math.max(...results.map(({ milliseconds }) => milliseconds));
    context.diagnostic(
      `${world.cloud.pushes.length} push, ${pids.size} agent, the slowest after ${Math.round(slowest)} ms`,
    );
    assert.doesNotMatch(results.map(({ stderr }) => stderr).join(''), /mint-ssh/);
  } finally {
    clearInterval(watch);
    await world.end();
  }
});

/** Beyond ten that have not logged in, sshd drops three of ten: that it drops none of the rest is unlikely. */
const count = 26;

test('simultaneous logins succeed although sshd drops some of them (MaxStartups 10:30:100)', async (context) => {
  const world = await makeWorld({ vms: { dev: { sshdLines: ['MaxStartups 10:30:100'], relay: true } } });
  try {
    const { relay } = world.vm('dev');
    assert.ok(relay);
    // Held between key exchange and login, so that they are too many at the same time.
    const release = world.cloud.faults.hold();
    const logins = logInAtOnce(world, count);
    await waitFor('all to dial, and some again', 20_000, () => relay.accepted > count);
    release();
    assertAllIn(await logins);
    const drops =
      world
        .sshd('dev')
        .log()
        .match(/^drop connection/gm)?.length ?? 0;
    const dials = relay.accepted;
    context.diagnostic(`${dials} dials for ${count} logins, sshd dropped ${drops}`);
    assert.ok(drops > 0);
    assert.equal(dials, count + drops);
    assert.ok(world.cloud.pushes.length <= 2);
  } finally {
    await world.end();
  }
});
