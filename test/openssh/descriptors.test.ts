/** An agent at its limit on open files: it serves as many VMs as before, or the error names the reason. */
import assert from 'node:assert/strict';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { keyPath } from '../agent/clients.ts';
import { descriptors } from '../agent/memory.ts';
import { loginUser, makeWorld, type World } from './world.ts';

describe('an agent that is out of descriptors', () => {
  let world: World;
  before(async () => {
    world = await makeWorld();
    assert.equal((await world.ssh('dev', 'true')).status, 0);
  });
  after(() => world.end());

  const limit = async (pid: number, files: number) => {
    const { status, stderr } = await world.run('prlimit', ['--pid', String(pid), `--nofile=${files}:`]);
    assert.equal(status, 0, stderr);
  };

  test('when ssh asks for the key: ssh reports a denied login, and the proxy the reason', async () => {
    const [{ pid } = { pid: 0 }] = world.agents();
    // Between ssh and the agent, to know the moment.
    const path = join(world.directory, 'between.sock');
    let came = 0;
    const between = createServer((client) => {
      came += 1;
      client.on('error', () => {});
      limit(pid, descriptors(pid)).then(
        () => {
          const agent = connect(keyPath(world, 'dev'));
          agent.on('error', () => {}).on('close', () => client.destroy());
          client.on('close', () => agent.destroy());
          client.pipe(agent).pipe(client);
        },
        () => client.destroy(),
      );
    });
    await new Promise<void>((resolve) => between.listen(path, resolve));
    try {
      const { status, stderr } = await world.ssh('-o', `IdentityAgent=${path}`, 'dev', 'true');
      assert.deepEqual([status, came], [255, 1], stderr);
      assert.match(stderr, /Permission denied/);
      assert.match(stderr, /the agent has no file descriptors left for the login \(agent-unavailable\)/);
      assert.match(stderr, /ulimit -n 4096/);
    } finally {
      between.close();
      await limit(pid, 1024);
    }
    const { status, stderr } = await world.ssh('dev', 'true');
    assert.equal(status, 0, stderr);
  });
});

test('an agent that may open 256 files serves 300 VMs, one after the other', async () => {
  const world = await makeWorld();
  try {
    const { port, instance } = world.vm('dev');
    const names = Array.from({ length: 300 }, (_, index) => `vm-${index}`);
    const tables = names.map((name) =>
      [
        `[vm.${name}]`,
        'host = "127.0.0.1"',
        `port = ${port}`,
        `instance = "${instance}"`,
        `user = "${loginUser}"`,
      ].join('\n'),
    );
    await world.settings(tables);
    const limited = (...words: string[]) =>
      world.run('sh', ['-c', 'ulimit -n 256 && exec "$@"', 'sh', ...words]);
    const login = (name: string) => limited('ssh', '-F', world.sshConfigFile, name, 'echo in');
    await world.mint('agent', 'stop');
    // Every tenth over the wire; of the others the agent opens the sockets alone.
    for (const name of names.filter((_, index) => index % 10 === 0)) {
      const { status, stderr } = await login(name);
      assert.equal(status, 0, `${name}: ${stderr}`);
    }
    const [{ pid } = { pid: 0 }] = world.agents();
    assert.ok(descriptors(pid) < 256 - 64, `${descriptors(pid)} descriptors are open`);
    const { status, stderr } = await login('dev');
    assert.equal(status, 0, stderr);
  } finally {
    await world.end();
  }
});
