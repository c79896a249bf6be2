/** Real logins with the blocks of `ssh-config` and a hostile config around them. */
import assert from 'node:assert/strict';
import { cpSync, existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { makeWorld, mintProgram, type World } from './world.ts';

const hostile = [
  'PubkeyAuthentication no',
  'ProxyUseFdpass yes',
  'PubkeyAcceptedAlgorithms rsa-sha2-512',
  'IdentitiesOnly yes',
  'ForwardAgent yes',
  'IdentityAgent none',
  'HostKeyAlgorithms rsa-sha2-512',
  'PreferredAuthentications password',
  'StrictHostKeyChecking no',
  'UserKnownHostsFile /dev/null',
  'UpdateHostKeys no',
  'HashKnownHosts yes',
  'VerifyHostKeyDNS yes',
  'KnownHostsCommand /bin/false',
  'AddKeysToAgent yes',
  'User nobody-of-that-name',
  'Port 1',
  'ProxyCommand false',
  'ProxyJump nowhere.invalid',
  'HostName nowhere.invalid',
  'CanonicalizeHostname always',
];

const files: Readonly<Record<string, string | undefined>> = {
  'no file at all': undefined,
  'an empty file': '',
  'CRLF line ends': 'Host *\r\n  PubkeyAuthentication no\r\n',
  'no final newline': 'Host *\n  IdentitiesOnly yes',
  '5,000 lines': 'Host x\n  User y\n'.repeat(2500),
  'IgnoreUnknown with options unknown here': 'IgnoreUnknown UseKeychain\nHost *\n  UseKeychain yes\n',
  'PubkeyAuthentication no for every host': `Host *\n  ${hostile[0]}\n`,
  'ProxyUseFdpass yes for every host': `Host *\n  ${hostile[1]}\n`,
  'no ssh-ed25519 for every host': `Host *\n  ${hostile[2]}\n`,
  'every hostile line at once': `Host *\n  ${hostile.join('\n  ')}\n`,
  'every hostile line, without a Host line': `${hostile.join('\n')}\n`,
};

describe('ssh dev logs in, and --remove restores the file', { timeout: 300_000 }, () => {
  let world: World;
  before(async () => {
    world = await makeWorld({ withoutSshConfig: true });
  });
  after(() => world.end());

  async function mint(...words: string[]): Promise<void> {
    const { status, stderr } = await world.mint(...words);
    assert.equal(status, 0, stderr);
  }

  for (const [name, text] of Object.entries(files)) {
    test(`with ${name}`, async () => {
      if (text !== undefined) writeFileSync(world.sshConfigFile, text, { mode: 0o600 });
      await mint('ssh-config', '--yes', '--file', world.sshConfigFile);
      const login = await world.ssh('dev', 'echo in; exit 7');
      assert.equal(login.stdout, 'in\n', login.stderr);
      assert.equal(login.status, 7);
      await mint('ssh-config', '--remove', '--yes', '--file', world.sshConfigFile);
      if (text === undefined) assert.ok(!existsSync(world.sshConfigFile));
      else assert.equal(readFileSync(world.sshConfigFile, 'utf8'), text);
    });
  }

  test('through a symbolic link', async () => {
    const target = join(world.home, 'ssh');
    const link = join(world.directory, 'link');
    writeFileSync(target, 'Host *\n  User other\n', { mode: 0o600 });
    symlinkSync(target, link);
    await mint('ssh-config', '--yes', '--file', link);
    const login = await world.run('ssh', ['-F', link, 'mint-dev', 'echo in']);
    assert.equal(login.stdout, 'in\n', login.stderr);
    await mint('ssh-config', '--remove', '--yes', '--file', link);
    assert.equal(readFileSync(target, 'utf8'), 'Host *\n  User other\n');
  });

  test('with mint-ssh ssh, which needs no file, and returns the exit status of the command', async () => {
    const login = await world.mint('ssh', 'dev', '--', 'echo in; exit 7');
    assert.equal(login.stdout, 'in\n', login.stderr);
    assert.equal(login.status, 7);
  });

  test('from a directory whose name is special to a shell and in a pattern', async () => {
    const directory = join(world.directory, "it's (100%) [a]; &");
    mkdirSync(directory, { mode: 0o700 });
    cpSync(join(world.configDir, 'ssh.toml'), join(directory, 'ssh.toml'));
    await mint('ssh-config', '--yes', '--config-dir', directory, '--file', world.sshConfigFile);
    // Nothing but the line in the file says where the directory is.
    const environment = { ...world.environment, MINT_CONFIG_DIR: undefined };
    try {
      const login = await world.run('ssh', ['-F', world.sshConfigFile, 'dev', 'echo in'], {
        env: environment,
      });
      assert.equal(login.stdout, 'in\n', login.stderr);
      assert.ok(existsSync(join(directory, 'hosts/dev.json')));
    } finally {
      await world.run(mintProgram, ['agent', 'stop', '--config-dir', directory]);
    }
  });
});
