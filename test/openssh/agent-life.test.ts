import assert from 'node:assert/strict';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { keyPath } from '../agent/clients.ts';
import { agentWorld, socketsIn } from './agent-world.ts';
import { mintProgram, waitFor } from './world.ts';

/** ssh looks for it before it starts the proxy, which starts the agent, which makes it. */
const noForwardSocket = /^Cannot forward agent socket path \S+: No such file or directory\r\n$/;

/** How often an agent looks at its socket and its settings, in milliseconds. */
const lookInterval = 5000;

describe('the life of the agent', { timeout: 300_000 }, () => {
  const { world, run, runDirectory, oneAgent, openSession, isAlive, logsIn, liveConnections } = agentWorld({
    dev: {},
    other: { relay: true },
  });

  test('killed during a session: the session continues, its proxy starts a new agent, the next login works', async () => {
    const session = await openSession();
    const { pid } = oneAgent();
    process.kill(pid, 'SIGKILL');
    const next = await waitFor('a new agent', 15_000, () =>
      world()
        .agents()
        .find((agent) => agent.pid !== pid),
    );
    await isAlive(session);
    await logsIn();
    assert.equal(oneAgent().pid, next.pid);
    // It knows about the session that was open before it started.
    await liveConnections(1);
    await isAlive(session);
  });

  test('killed five times, it is started again each time', async () => {
    const opened = await Promise.all([openSession(), openSession(), openSession()]);
    for (let round = 0; round < 5; round += 1) {
      const { pid } = await waitFor('one agent', 15_000, () => world().agents()[0]);
      process.kill(pid, 'SIGKILL');
      await waitFor('another agent', 15_000, () =>
        world()
          .agents()
          .some((agent) => agent.pid !== pid),
      );
      await waitFor('its socket', 15_000, () => existsSync(run('control.sock')));
    }
    await logsIn();
    oneAgent();
    for (const session of opened) await isAlive(session);
  });

  test('killed before a login has asked it for the key: the next agent continues the login', async () => {
    const { faults } = world().cloud;
    const releaseCloud = faults.hold();
    const releaseServer = world().vm('other').relay?.holdServer();
    try {
      const login = world().startSsh(['other', 'echo hello']);
      await waitFor('the push', 15_000, () => faults.waiting > 0);
      process.kill(oneAgent().pid, 'SIGKILL');
      await waitFor('the second push', 15_000, () => faults.waiting > 1);
      releaseCloud();
      releaseServer?.();
      const { status, stdout, stderr } = await login.done;
      assert.deepEqual([status, stdout, stderr], [0, 'hello\n', '']);
    } finally {
      releaseCloud();
      releaseServer?.();
    }
  });

  test('killed when a login already has its key: that login fails at once, the next one works', async () => {
    const release = world().cloud.faults.hold();
    try {
      const login = world().startSsh(['-v', 'dev', 'echo hello']);
      // OpenSSH lists the keys before it sends anything after its NEWKEYS, which is held here.
      await login.until(/agent returned 1 keys/);
      await waitFor('the push', 15_000, () => world().cloud.faults.waiting > 0);
      process.kill(oneAgent().pid, 'SIGKILL');
      await waitFor('the second push', 15_000, () => world().cloud.faults.waiting > 1);
      release();
      const { status, stderr, milliseconds } = await login.done;
      assert.equal(status, 255);
      assert.match(stderr, /Permission denied \(publickey\)/);
      assert.match(stderr, /the agent ended during the login to dev \(agent-unavailable\)/);
      assert.ok(milliseconds < 60_000);
    } finally {
      release();
    }
    await logsIn();
  });

  test('a new agent takes over the socket, the lock and the machine claim of a killed one', async () => {
    await logsIn();
    const { pid } = oneAgent();
    process.kill(pid, 'SIGKILL');
    await waitFor('it to end', 15_000, () => world().agents().length === 0);
    for (const name of ['control.sock', 'lock', 'machine', 'agent/dev.sock']) {
      assert.ok(existsSync(run(name)), name);
    }
    // Two agents that die at the wrong moment may leave this too.
    writeFileSync(run('starting'), '');
    writeFileSync(run('.99999-1'), '');
    const past = new Date(Date.now() - 60_000);
    utimesSync(run('starting'), past, past);
    await logsIn();
    assert.notEqual(oneAgent().pid, pid);
    assert.ok(!existsSync(run('.99999-1')));
  });

  test('a second agent refuses to start while one runs', async () => {
    await logsIn();
    const { pid } = oneAgent();
    const before = lstatSync(run('control.sock')).ino;
    const second = await world().mint('agent');
    assert.equal(second.status, 1);
    assert.match(second.stderr, /an agent is running already \(agent-unavailable\)/);
    assert.equal(oneAgent().pid, pid);
    assert.equal(lstatSync(run('control.sock')).ino, before);
    await logsIn();
  });

  test('an old agent never removes the files of a new agent in the directory it had', async () => {
    const old = world().start(mintProgram, ['agent']);
    await old.until(/the agent listens on /);
    await logsIn();
    renameSync(runDirectory(), join(world().directory, 'moved'));
    await logsIn(noForwardSocket);
    // An agent opens the sockets of the other VMs after that of the first login.
    await waitFor('the last socket', 15_000, () => existsSync(keyPath(world(), 'other')));
    // The socket for forwarded agents closes with the VM's last connection.
    await liveConnections(0);
    const sockets = socketsIn(runDirectory());
    const machine = statSync(run('machine')).ino;
    old.kill('SIGTERM');
    await old.done;
    assert.deepEqual(socketsIn(runDirectory()), sockets);
    assert.equal(statSync(run('machine')).ino, machine);
    await logsIn();
    oneAgent();
    // The old agent does not remove its own files either: they stay in the moved directory.
    rmSync(join(world().directory, 'moved'), { recursive: true });
  });

  test('an agent whose socket was removed is superseded, and the sessions register with the next one', async () => {
    const session = await openSession();
    const { pid } = oneAgent();
    rmSync(run('control.sock'));
    await logsIn();
    assert.notEqual(oneAgent().pid, pid);
    await liveConnections(1);
    await isAlive(session);
  });

  test('an agent whose directory cannot be read for a while continues', async () => {
    await logsIn();
    const { pid } = oneAgent();
    const moved = join(world().directory, 'away');
    renameSync(world().configDir, moved);
    // Like a network home that is unavailable: the path exists, but every access fails.
    symlinkSync(world().configDir, world().configDir);
    await sleep(lookInterval + 1000);
    rmSync(world().configDir);
    renameSync(moved, world().configDir);
    assert.equal(oneAgent().pid, pid);
    await logsIn();
    assert.equal(oneAgent().pid, pid);
  });

  test('a VM’s socket that was removed exists again at the next login', async () => {
    await logsIn();
    const { pid } = oneAgent();
    rmSync(keyPath(world(), 'dev'));
    await logsIn();
    assert.equal(oneAgent().pid, pid);
  });

  test('its directory may be replaced while it runs', async () => {
    rmSync(runDirectory(), { recursive: true, force: true });
    mkdirSync(runDirectory(), { mode: 0o700 });
    await logsIn(noForwardSocket);
  });
});
