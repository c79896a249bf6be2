/**
 * An OpenSSH that was built with another sysconfdir, as Homebrew's, conda's and nix's are: `mint-ssh ssh` and `key` include the
 * system's config of the ssh that runs.
 *
 * The ssh here is Debian's with its compiled-in `/etc/ssh` replaced by another path of the same length, which is what
 * `configure --sysconfdir` changes in the program.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { ownDirectory } from '../platform/directory.ts';
import { testPath } from '../programs.ts';

const program = join(import.meta.dirname, '../../dist/mint-ssh');
const usual = '/etc/ssh';

interface OtherSsh {
  /** The value of PATH with which it is found. */
  readonly path: string;
  readonly sysconfdir: string;
}

function otherSsh(context: TestContext): OtherSsh {
  const sysconfdir = shortDirectory(context);
  const bytes = readFileSync('/usr/bin/ssh').toString('latin1');
  const bin = join(sysconfdir, 'bin');
  mkdirSync(bin);
  writeFileSync(join(bin, 'ssh'), Buffer.from(bytes.replaceAll(usual, sysconfdir), 'latin1'), {
    mode: 0o755,
  });
  return { path: `${bin}:${testPath}`, sysconfdir };
}

/** A directory whose path is as long as `/etc/ssh`. */
function shortDirectory(context: TestContext): string {
  for (;;) {
    const path = `/tmp/${Math.random().toString(36).slice(2, 5)}`;
    if (path.length !== usual.length || existsSync(path)) continue;
    mkdirSync(path, { mode: 0o755 });
    context.after(() => rmSync(path, { recursive: true, force: true }));
    return path;
  }
}

function mint(
  context: TestContext,
  { path }: OtherSsh,
  words: readonly string[],
  wrapper: readonly string[] = [],
): { readonly status: number | null; readonly stdout: string; readonly stderr: string } {
  const directory = ownDirectory(context);
  const settings = '[vm.dev]\ninstance = "i-0123456789abcdef0"\nhost = "127.0.0.1"\nport = 1\n';
  writeFileSync(join(directory, 'ssh.toml'), settings, { mode: 0o600 });
  const env = {
    PATH: path,
    HOME: process.env['HOME'],
    MINT_CONFIG_DIR: directory,
    AWS_REGION: 'eu-central-1',
    AWS_ENDPOINT_URL: 'http://127.0.0.1:1',
    AWS_EC2_METADATA_DISABLED: 'true',
  };
  context.after(() => spawnSync(program, ['agent', 'stop', '--force'], { env }));
  const [command = '', ...args] = [...wrapper, program, ...words];
  return spawnSync(command, args, { env, encoding: 'utf8', timeout: 120_000 });
}

test('the system’s config of the ssh that runs counts', (context) => {
  const ssh = otherSsh(context);
  writeFileSync(join(ssh.sysconfdir, 'ssh_config'), 'Host *\n  ServerAliveInterval 7\n');
  const { status, stdout, stderr } = mint(context, ssh, ['ssh', 'dev', '--', '-G']);
  assert.equal(status, 0, stderr);
  assert.match(stdout, /^hostname dev$/m);
  assert.match(stdout, /^serveraliveinterval 7$/m);
});

test('its relative Include leads to its own directory', (context) => {
  const ssh = otherSsh(context);
  mkdirSync(join(ssh.sysconfdir, 'some more.d'));
  writeFileSync(
    join(ssh.sysconfdir, 'ssh_config'),
    'Include "some more.d/*.conf" other\nHost *\n  ServerAliveCountMax 8\n',
  );
  writeFileSync(join(ssh.sysconfdir, 'some more.d/one.conf'), 'ServerAliveInterval 9\n');
  writeFileSync(join(ssh.sysconfdir, 'other'), 'Host dev\n  ConnectTimeout 11\n');
  const { status, stdout, stderr } = mint(context, ssh, ['ssh', 'dev', '--', '-G']);
  assert.equal(status, 0, stderr);
  for (const line of ['serveraliveinterval 9', 'serveralivecountmax 8', 'connecttimeout 11'])
    assert.match(stdout, new RegExp(`^${line}$`, 'm'));
});

test('it has none', (context) => {
  const ssh = otherSsh(context);
  const { status, stdout, stderr } = mint(context, ssh, ['ssh', 'dev', '--', '-G']);
  assert.equal(status, 0, stderr);
  assert.match(stdout, /^hostname dev$/m);
});

/** Puts a line into the sysconfdir of Debian's ssh that no ssh accepts, for the command alone. */
const namespace = ['unshare', '-m'];
const needsNamespace =
  spawnSync('unshare', ['-m', 'mount', '-t', 'tmpfs', 'none', '/mnt']).status === 0
    ? false
    : 'this machine allows no mount namespaces';

test('a line of /etc/ssh/ssh_config that this ssh does not read stops neither ssh nor key', {
  skip: needsNamespace,
}, (context) => {
  const ssh = otherSsh(context);
  writeFileSync(join(ssh.sysconfdir, 'ssh_config'), 'Host *\n  ServerAliveInterval 7\n');
  const bad = join(ownDirectory(context), 'bad');
  mkdirSync(bad);
  writeFileSync(join(bad, 'ssh_config'), 'NoSuchOption yes\n');
  const script = 'mount --bind "$0" /etc/ssh && exec "$@"';
  const wrapper = [...namespace, 'sh', '-c', script, bad];

  const { status, stdout, stderr } = mint(context, ssh, ['ssh', 'dev', '--', '-G'], wrapper);
  assert.equal(status, 0, stderr);
  assert.match(stdout, /^serveraliveinterval 7$/m);
  // Nothing answers on port 1, which is as far as it comes.
  assert.match(mint(context, ssh, ['key', 'list', 'dev'], wrapper).stderr, /\((?:dial-failed|io-failed)\)/);
  assert.doesNotMatch(mint(context, ssh, ['key', 'list', 'dev'], wrapper).stderr, /nosuchoption/i);
  // The line is there, and ssh with the usual sysconfdir does refuse it.
  const usualSsh = mint(context, { ...ssh, path: testPath }, ['ssh', 'dev', '--', '-G'], wrapper);
  assert.match(usualSsh.stderr, /Bad configuration option: nosuchoption/);
});
