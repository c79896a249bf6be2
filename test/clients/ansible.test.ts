import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { processesOf } from '../openssh/processes.ts';
import { makeWorld, type World, waitFor } from '../openssh/world.ts';
import { assertBound } from './bound.ts';

const forks = 20;

describe('ansible', { timeout: 300_000 }, () => {
  let world: World;
  before(async () => {
    world = await makeWorld();
  });
  after(() => world.end());

  test(`${forks} forks at once, each with a shared connection of its own, then a module over them`, async () => {
    const sockets = join(world.directory, 'cp');
    mkdirSync(sockets, { mode: 0o700 });
    // Ansible makes the path from host, port and user: here all are one host.
    const hosts = Array.from(
      { length: forks },
      (_, at) => `h${at} ansible_host=dev ansible_ssh_common_args='-o ControlPath=${sockets}/h${at}'`,
    );
    writeFileSync(join(world.directory, 'hosts'), `[all]\n${hosts.join('\n')}\n`);
    const shared = '-o ControlMaster=auto -o ControlPersist=60s';
    const lines = [
      '[defaults]',
      'inventory = hosts',
      `forks = ${forks}`,
      `local_tmp = ${join(world.directory, 'ansible')}`,
      'interpreter_python = /usr/bin/python3',
      '[ssh_connection]',
      `ssh_args = -F ${world.sshConfigFile} ${shared}`,
    ];
    writeFileSync(join(world.directory, 'ansible.cfg'), `${lines.join('\n')}\n`);
    const variables = {
      ANSIBLE_CONFIG: join(world.directory, 'ansible.cfg'),
      ANSIBLE_SSH_CONTROL_PATH: undefined,
    };
    const ansible = (...args: string[]) => world.run('ansible', args, { env: variables, timeout: 90_000 });

    const raw = await ansible('all', '-o', '-m', 'raw', '-a', 'echo hello');
    assert.equal(raw.status, 0, raw.stdout + raw.stderr);
    assert.equal(raw.stdout.match(/hello/g)?.length, forks, raw.stdout);
    const logins = world.sshd('dev').accepted();
    const ping = await ansible('h0:h1', '-o', '-m', 'ping');
    assert.equal(ping.stdout.match(/"pong"/g)?.length, 2, ping.stdout + ping.stderr);
    assert.equal(world.sshd('dev').accepted(), logins);
    assert.ok(world.cloud.pushes.length <= 2, `${world.cloud.pushes.length} pushes`);
    await assertBound(world, 'dev');

    for (let at = 0; at < forks; at += 1) {
      await world.run('ssh', ['-F', '/dev/null', '-O', 'exit', '-o', `ControlPath=${sockets}/h${at}`, 'dev']);
    }
    await waitFor('the masters to end', 15_000, () =>
      processesOf(world.directory).every(({ command }) => !command.includes(' proxy ')),
    );
  });
});
