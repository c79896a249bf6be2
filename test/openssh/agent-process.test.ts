import assert from 'node:assert/strict';
import { existsSync, lstatSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { agentWorld, socketsIn } from './agent-world.ts';
import { mintProgram, waitFor } from './world.ts';

describe('the agent as a process', { timeout: 300_000 }, () => {
  const { world, run, runDirectory, oneAgent, openSession, isAlive, logsIn } = agentWorld({ dev: {} });

  test('runs in the foreground, and ends with SIGTERM and SIGINT, leaving no socket', async () => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      const agent = world().start(mintProgram, ['agent'], {});
      await agent.until(/the agent listens on /);
      await logsIn();
      assert.equal(oneAgent().pid, agent.pid);
      agent.kill(signal);
      const { status, milliseconds } = await agent.done;
      assert.equal(status, 0);
      assert.ok(milliseconds < 60_000);
      assert.deepEqual(socketsIn(runDirectory()), []);
      assert.ok(!existsSync(run('machine')));
      assert.ok(lstatSync(run('forward.sock')).isFile());
    }
  });

  test('stop ends it; the sessions continue and do not start it again', async () => {
    const session = await openSession();
    const stop = await world().mint('agent', 'stop');
    assert.deepEqual([stop.status, stop.stderr], [0, 'mint-ssh: the agent ends\n']);
    await waitFor('it to end', 15_000, () => world().agents().length === 0);
    await sleep(2000);
    assert.deepEqual(world().agents(), []);
    await isAlive(session);
    await logsIn();
    oneAgent();
    await isAlive(session);
  });

  test('status and stop without an agent report that, exit with 1 and 0, and create nothing', async () => {
    const empty = join(world().directory, 'empty');
    for (const [word, expected] of [
      ['status', 1],
      ['stop', 0],
    ] as const) {
      const { status, stdout, stderr } = await world().mint('agent', word, '--config-dir', empty);
      assert.deepEqual([status, stdout, stderr], [expected, '', 'mint-ssh: no agent runs\n']);
    }
    const json = await world().mint('agent', 'status', '--json', '--config-dir', empty);
    assert.deepEqual([json.status, json.stdout], [1, 'null\n']);
    assert.ok(!existsSync(empty));
  });

  test('status shows the VMs, their connections and the pushed key', async () => {
    const session = await openSession();
    const text = await world().mint('agent', 'status');
    assert.match(
      text.stdout,
      /^agent \S+, pid \d+, since \S+ \S+ UTC, 1 connection\n {2}dev: 1 connection, pushed, good for \d+ s\n$/,
    );
    const { stdout } = await world().mint('agent', 'status', '--json');
    const { vms, pid, connections } = JSON.parse(stdout);
    assert.equal(pid, oneAgent().pid);
    assert.equal(connections, 1);
    assert.deepEqual(
      { ...vms[0], push_seconds_left: 0 },
      {
        vm: 'dev',
        socket: run('agent/dev.sock'),
        connections: 1,
        public_key: vms[0].public_key,
        push_seconds_left: 0,
        forwarding_refused: null,
      },
    );
    assert.match(vms[0].public_key, /^ssh-ed25519 \S{68}$/);
    await isAlive(session);
    assert.equal((await world().mint('agent', 'restart')).status, 2);
  });

  test('a program that waits for the output of ssh does not wait for the agent', async () => {
    const command = `ssh -F ${world().sshConfigFile} dev echo hello 2>&1 | tail -n 1`;
    const { stdout, milliseconds } = await world().run('sh', ['-c', command]);
    assert.equal(stdout, 'hello\n');
    assert.ok(milliseconds < 60_000, `${milliseconds} ms`);
    oneAgent();
  });

  test('is detached: no inherited descriptors, a session of its own, no AWS settings in its environment', async () => {
    const pipe = join(world().directory, 'pipe');
    await world().run('mkfifo', [pipe]);
    const command = `exec 7<>${pipe}; exec 9<${world().sshConfigFile}; ssh -F ${world().sshConfigFile} dev true; ${mintProgram} proxy dev </dev/null >/dev/null 2>&1; ls -l /proc/$$/fd`;
    const { stdout } = await world().run('bash', ['-c', command]);
    assert.match(stdout, /7 -> \S+pipe/);
    const { pid, parent, environment, command: title } = oneAgent();
    const held = descriptorsOf(pid);
    assert.deepEqual([held[0], held[1], held[2]], ['/dev/null', '/dev/null', '/dev/null']);
    for (const path of Object.values(held)) assert.ok(path !== world().sshConfigFile && path !== pipe, path);
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const [, , group, leader] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    assert.deepEqual([Number(group), Number(leader)], [pid, pid]);
    assert.notEqual(parent, process.pid);
    assert.equal(readlinkSync(`/proc/${pid}/cwd`), '/');
    const names = environment
      .split('\n')
      .filter(Boolean)
      .map((line) => line.split('=')[0]);
    assert.deepEqual(
      names.filter((name) => !['PATH', 'HOME', 'TZ'].includes(name ?? '')),
      [],
    );
    assert.doesNotMatch(title, /AWS|secret/i);
  });

  test('does not hold a descriptor that the proxy itself was run with', async () => {
    const pipe = join(world().directory, 'pipe-of-proxy');
    await world().run('mkfifo', [pipe]);
    const proxy = `sh -c 'exec 9<>${pipe}; exec ${mintProgram} proxy dev %p %r'`;
    const { status } = await world().ssh('-o', `ProxyCommand=${proxy}`, 'dev', 'true');
    assert.equal(status, 0);
    assert.ok(!Object.values(descriptorsOf(oneAgent().pid)).includes(pipe));
  });

  test('an agent that does not answer is reported, and ssh does not wait for it', async () => {
    await logsIn();
    const { pid } = oneAgent();
    process.kill(pid, 'SIGSTOP');
    try {
      const [login, status] = await Promise.all([
        world().ssh('dev', 'true'),
        world().mint('agent', 'status'),
      ]);
      assert.equal(login.status, 255);
      assert.match(login.stderr, /the agent does not answer \(agent-unavailable\)/);
      assert.match(status.stderr, /the agent does not answer \(agent-unavailable\)/);
      assert.ok(login.milliseconds < 60_000);
    } finally {
      process.kill(pid, 'SIGCONT');
    }
    await logsIn();
  });
});

/** What a process holds open, by descriptor. */
function descriptorsOf(pid: number): Record<number, string> {
  const held: Record<number, string> = {};
  for (const name of readdirSync(`/proc/${pid}/fd`))
    held[Number(name)] = readlinkSync(`/proc/${pid}/fd/${name}`);
  return held;
}
