import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { keyPath } from '../agent/clients.ts';
import { freePort, loginUser, makeWorld, mintProgram, type World } from '../openssh/world.ts';
import { assertBound } from './bound.ts';

/** Debian's own: a version manager's has none of the packages. */
const python = '/usr/bin/python3';

describe('clients other than OpenSSH, none of which knows session-bind', { timeout: 300_000 }, () => {
  let world: World;
  before(async () => {
    const names = ['dropbear', 'plink', 'pscp', 'paramiko', 'asyncssh', 'libssh', 'curl'];
    world = await makeWorld({ vms: Object.fromEntries(names.map((name) => [name, {}])) });
    mkdirSync(join(world.home, '.ssh'), { mode: 0o700 });
  });
  after(() => world.end());

  const proxy = (vm: string) => `${mintProgram} proxy ${vm}`;
  const agentOf = (vm: string) => ({ SSH_AUTH_SOCK: keyPath(world, vm) });
  const program = (name: string) => join(import.meta.dirname, 'programs', name);
  async function logsIn(vm: string, name: string, args: readonly string[], env = agentOf(vm)): Promise<void> {
    // Twice: with the host unknown, then with it pinned.
    for (const word of ['first', 'second']) {
      const words = args.map((arg) => arg.replace('WORD', word));
      const { status, stdout, stderr } = await world.run(name, words, { env });
      assert.equal(status, 0, stderr);
      assert.equal(stdout, `${word}\n`, stderr);
    }
    await assertBound(world, vm);
  }

  test('dropbear’s dbclient: -J with the proxy, the VM’s socket as SSH_AUTH_SOCK', async () => {
    await logsIn('dropbear', 'dbclient', [
      '-y',
      '-J',
      proxy('dropbear'),
      `${loginUser}@dropbear`,
      'echo WORD',
    ]);
  });

  test('PuTTY’s plink: -proxycmd and -agent', async () => {
    const { fingerprint } = world.sshd('plink').hostKey;
    const words = ['-ssh', '-batch', '-agent', '-hostkey', fingerprint, '-proxycmd', proxy('plink')];
    await logsIn('plink', 'plink', [...words, `${loginUser}@plink`, 'echo WORD']);
  });

  test('PuTTY’s pscp copies a file both ways', async () => {
    const { fingerprint } = world.sshd('pscp').hostKey;
    const words = ['-batch', '-q', '-agent', '-hostkey', fingerprint, '-proxycmd', proxy('pscp')];
    const [up, there, back] = ['up', 'there', 'back'].map((name) => join(world.directory, name));
    writeFileSync(String(up), randomBytes(500_000));
    for (const ways of [
      [up, `${loginUser}@pscp:${there}`],
      [`${loginUser}@pscp:${there}`, back],
    ]) {
      const { status, stderr } = await world.run('pscp', [...words, ...ways.map(String)], {
        env: agentOf('pscp'),
      });
      assert.equal(status, 0, stderr);
    }
    assert.ok(readFileSync(String(up)).equals(readFileSync(String(back))));
    await assertBound(world, 'pscp');
  });

  test('paramiko: the generated block, its ProxyCommand, the VM’s socket as SSH_AUTH_SOCK', async () => {
    const config = join(world.configDir, 'ssh_config');
    await logsIn('paramiko', python, [program('paramiko-login.py'), config, 'paramiko', 'echo WORD']);
  });

  test('asyncssh: proxy_command, and the VM’s socket as SSH_AUTH_SOCK', async () => {
    const knownHosts = join(world.configDir, 'hosts/asyncssh.known_hosts');
    const words = ['-W', 'ignore', program('asyncssh-login.py'), 'asyncssh', loginUser, knownHosts];
    await logsIn('asyncssh', python, [...words, proxy('asyncssh'), 'echo WORD']);
  });

  test('libssh: reads the generated block, IdentityAgent and all', async () => {
    const config = join(world.configDir, 'ssh_config');
    await logsIn('libssh', python, [program('libssh-login.py'), config, 'libssh', 'echo WORD'], {
      SSH_AUTH_SOCK: '',
    });
  });

  test('libssh2, through curl: sftp by way of a local port that runs the proxy', async () => {
    const port = await freePort();
    const listener = world.start('socat', [
      ...['-d', '-d'],
      `TCP-LISTEN:${port},bind=127.0.0.1,reuseaddr,fork`,
      `EXEC:${proxy('curl')}`,
    ]);
    await listener.until(/listening on/);
    const file = join(world.directory, 'for-curl');
    writeFileSync(file, 'over sftp');
    // libssh2 prefers an ecdsa key.
    const fingerprint = world.sshd('curl').hostKeys.find(({ type }) => type === 'ecdsa')?.fingerprint ?? '';
    const hostKey = ['--hostpubsha256', fingerprint.replace('SHA256:', '')];
    const url = `sftp://${loginUser}@127.0.0.1:${port}${file}`;
    const { status, stdout, stderr } = await world.run(
      'curl',
      ['-sS', ...hostKey, '-u', `${loginUser}:`, url],
      {
        env: agentOf('curl'),
      },
    );
    assert.deepEqual([status, stdout], [0, 'over sftp'], stderr);
    listener.kill();
    await listener.done;
    await assertBound(world, 'curl');
  });
});
