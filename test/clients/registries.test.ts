/**
 * The newest clients of PyPI, npm, Maven Central and the Go module proxy. Each logs in twice, with the host unknown and with
 * it pinned, and is then shown another host key.
 */
import assert from 'node:assert/strict';
import { chmodSync, existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { keyPath } from '../agent/clients.ts';
import { fences } from '../docs/pages.ts';
import { loginUser, makeWorld, mintProgram, type Result, type World } from '../openssh/world.ts';
import { assertBound } from './bound.ts';
import { goLogin, jars, python, requirePackages } from './packages.ts';

/** Of a JVM, or of Python importing AWS's SDK, on a busy machine. */
const timeout = 60_000;

describe('clients from package registries', { timeout: 600_000 }, () => {
  let world: World;
  let config: string;
  before(async () => {
    requirePackages();
    const names = ['paramiko', 'asyncssh', 'options', 'fabric', 'node-ssh', 'jsch', 'sshj', 'golang'];
    world = await makeWorld({ vms: Object.fromEntries(names.map((name) => [name, {}])) });
    config = join(world.configDir, 'ssh_config');
    mkdirSync(join(world.home, '.ssh'), { mode: 0o700 });
  });
  after(() => world?.end());

  const program = (name: string) => join(import.meta.dirname, 'programs', name);
  const proxy = (vm: string) => `${mintProgram} proxy ${vm}`;
  const agentOf = (vm: string) => ({ SSH_AUTH_SOCK: keyPath(world, vm) });
  const knownHosts = (vm: string) => join(world.configDir, `hosts/${vm}.known_hosts`);

  /** @param login logs in and has the VM run `echo WORD` */
  async function logsIn(vm: string, login: (word: string) => Promise<Result>): Promise<void> {
    for (const word of ['first', 'second']) {
      const { status, stdout, stderr } = await login(word);
      assert.deepEqual([status, stdout], [0, `${word}\n`], stderr);
    }
    await assertBound(world, vm);
    await refusesAnotherHostKey(vm, login);
  }

  async function refusesAnotherHostKey(vm: string, login: (word: string) => Promise<Result>): Promise<void> {
    const sshd = world.sshd(vm);
    await sshd.replaceHostKey();
    const accepted = sshd.accepted();
    const { status, stdout, stderr } = await login('third');
    assert.notEqual(status, 0, stderr);
    assert.equal(stdout, '');
    assert.equal(sshd.accepted(), accepted, 'sshd accepted a key');
    const events = (world.file('audit.log') ?? '')
      .split('\n')
      .filter((line) => line.includes(`"vm_name":"${vm}"`));
    assert.ok(
      events.some((line) => line.includes('"event":"host-key-changed"')),
      events.join('\n'),
    );
  }

  test('paramiko 5.1: the generated block, its ProxyCommand, the VM’s socket as SSH_AUTH_SOCK', () =>
    logsIn('paramiko', (word) =>
      world.run(python, [program('paramiko-login.py'), config, 'paramiko', `echo ${word}`], {
        env: agentOf('paramiko'),
        timeout,
      }),
    ));

  test('asyncssh 2.24: the whole generated block, once another client has made the first login', async () => {
    const login = (word: string) =>
      world.run(python, [program('asyncssh-config.py'), config, 'asyncssh', `echo ${word}`], {
        env: { SSH_AUTH_SOCK: undefined },
        timeout,
      });
    // It reads the known-hosts files before it connects: they are there and empty.
    const early = await login('early');
    assert.notEqual(early.status, 0);
    assert.match(early.stderr, /HostKeyNotVerifiable/);
    assert.equal((await world.ssh('asyncssh', 'true')).status, 0);
    await logsIn('asyncssh', login);
  });

  test('asyncssh 2.24: proxy_command, and the VM’s socket as SSH_AUTH_SOCK', () => {
    const words = [
      program('asyncssh-login.py'),
      'options',
      loginUser,
      knownHosts('options'),
      proxy('options'),
    ];
    return logsIn('options', (word) =>
      world.run(python, [...words, `echo ${word}`], { env: agentOf('options'), timeout }),
    );
  });

  test('Fabric 3.2: the lines of docs/clients.md as they are printed', async () => {
    const bin = join(world.directory, 'bin');
    mkdirSync(bin);
    // The ssh of the user who wrote the block into ~/.ssh/config.
    writeFileSync(join(bin, 'ssh'), `#!/bin/sh\nexec /usr/bin/ssh -F ${world.sshConfigFile} "$@"\n`);
    chmodSync(join(bin, 'ssh'), 0o755);
    const lines = fences('docs/clients.md')
      .flatMap(({ text }) => text.split('\n'))
      .filter((line) => line.includes('fabric.ssh_config'));
    assert.equal(lines.length, 3, lines.join('\n'));
    const script = (word: string) =>
      lines.join('\n').replaceAll(' dev', ' fabric').replace('-- uptime', `-- echo ${word}`);
    const env = {
      ...agentOf('fabric'),
      PATH: [bin, dirname(python), world.environment['PATH']].join(':'),
    };
    await logsIn('fabric', (word) => world.run('sh', ['-ec', script(word)], { env, timeout }));
  });

  test('node-ssh 13: sock is the proxy, agent the VM’s socket', () =>
    logsIn('node-ssh', (word) =>
      world.run(
        process.execPath,
        [
          program('node-ssh-login.ts'),
          loginUser,
          keyPath(world, 'node-ssh'),
          `echo ${word}`,
          mintProgram,
          'proxy',
          'node-ssh',
        ],
        { timeout },
      ),
    ));

  for (const [vm, name, main] of [
    ['jsch', 'JSch 2.28', 'JschLogin'],
    ['sshj', 'sshj 0.40', 'SshjLogin'],
  ] as const) {
    test(`${name}: a connection that runs the proxy, the VM’s socket as its agent`, async () => {
      const classes = join(world.directory, `classes-${vm}`);
      const words = ['-cp', `${jars}/*`, '-d', classes, program(`${main}.java`)];
      const compiled = await world.run('javac', words, { timeout });
      assert.equal(compiled.status, 0, compiled.stderr);
      const login = ['-cp', `${jars}/*:${classes}`, main, vm, loginUser, knownHosts(vm), proxy(vm)];
      await logsIn(vm, (word) =>
        world.run('java', [...login, `echo ${word}`], { env: agentOf(vm), timeout }),
      );
    });
  }

  test('Go x/crypto 0.59: the proxy as a connection, the VM’s socket as its agent', async () => {
    assert.ok(existsSync(goLogin));
    const words = ['golang', loginUser, knownHosts('golang'), proxy('golang')];
    await logsIn('golang', (word) =>
      world.run(goLogin, [...words, `echo ${word}`], { env: agentOf('golang'), timeout }),
    );
  });
});
