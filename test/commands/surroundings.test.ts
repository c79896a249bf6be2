/** Commands in surroundings that are broken: no command may end with an internal error or a stack trace. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, chownSync, mkdirSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { ownDirectory } from '../platform/directory.ts';

const root = join(import.meta.dirname, '../..');
const program = join(root, 'dist/mint-ssh');
const settings = '[vm.dev]\ninstance = "i-0123456789abcdef0"\nhost = "127.0.0.1"\nport = 1\n';

/** One run of every command that reads or writes something of its own. Nothing answers on port 1. */
const commandLines = [
  'ssh dev -- -G',
  'ssh dev -- true',
  'proxy dev 22 ubuntu',
  'key list dev',
  'keys list',
  'keys create default',
  'keys doctor',
  'mosh dev',
  'doctor dev',
  'hosts',
  'hosts verify dev',
  'vms',
  'ssh-config --dry-run',
  'agent status',
  'agent install --dry-run',
  'job status absent',
  'debug list',
  'completion bash',
];

interface Place {
  readonly home: string;
  readonly mint: string;
}

function makePlace(context: TestContext): Place {
  const home = join(ownDirectory(context), 'home');
  const mint = join(home, '.config/mint');
  mkdirSync(home, { mode: 0o700 });
  mkdirSync(join(home, '.config'), { mode: 0o700 });
  mkdirSync(mint, { mode: 0o700 });
  writeFileSync(join(mint, 'ssh.toml'), settings, { mode: 0o600 });
  context.after(() => spawnSync(program, ['agent', 'stop', '--force'], { env: environment({ home, mint }) }));
  return { home, mint };
}

function environment({ home, mint }: Place): NodeJS.ProcessEnv {
  return {
    PATH: process.env['PATH'],
    HOME: home,
    MINT_CONFIG_DIR: mint,
    AWS_EC2_METADATA_DISABLED: 'true',
    AWS_ENDPOINT_URL: 'http://127.0.0.1:1',
    AWS_REGION: 'eu-central-1',
  };
}

interface Options {
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
  /** Words that run the program in changed surroundings, such as `setpriv …`. */
  readonly wrapper?: readonly string[];
  readonly executable?: string;
}

/** Runs every command line and checks what none may print. @returns all that was printed */
function runAll(
  place: Place,
  { cwd = '/', env = {}, wrapper = [], executable = program }: Options = {},
): string {
  let printed = '';
  for (const line of commandLines) {
    const [command = '', ...words] = [...wrapper, executable, ...line.split(' ')];
    const outcome = spawnSync(command, words, {
      cwd,
      env: { ...environment(place), ...env },
      encoding: 'utf8',
      input: '',
      timeout: 60_000,
    });
    const said = `${line}: status ${outcome.status}\n${outcome.stdout}${outcome.stderr}`;
    assert.doesNotMatch(said, /internal error|^ +at .*:\d+:\d+\)?$/m, said);
    assert.ok(outcome.status !== null, said);
    printed += said;
  }
  return printed;
}

test('TMPDIR names a missing directory', (context) => {
  const place = makePlace(context);
  assert.doesNotMatch(runAll(place, { env: { TMPDIR: join(place.home, 'gone') } }), /gone/);
});

test('the working directory has been removed', (context) => {
  const place = makePlace(context);
  // The shell removes its own working directory, then runs the command in it.
  const script = 'cd "$1" && rmdir "$1" && shift && "$@"; status=$?; mkdir "$gone"; exit $status';
  const gone = join(place.home, 'gone');
  mkdirSync(gone);
  runAll(place, { env: { gone }, wrapper: ['sh', '-c', script, 'sh', gone] });
  rmdirSync(gone);
});

test('the locale is C, and the home directory has an umlaut', (context) => {
  const home = join(ownDirectory(context), 'Jörg');
  mkdirSync(join(home, '.config/mint'), { recursive: true, mode: 0o700 });
  const place = { home, mint: join(home, '.config/mint') };
  writeFileSync(join(place.mint, 'ssh.toml'), settings, { mode: 0o600 });
  context.after(() => spawnSync(program, ['agent', 'stop', '--force'], { env: environment(place) }));
  const said = runAll(place, { env: { LC_ALL: 'C', LANG: 'C' } });
  assert.doesNotMatch(said, /no VM .*is called/);
});

test('ssh.toml is not a regular file', (context) => {
  const place = makePlace(context);
  const file = join(place.mint, 'ssh.toml');
  spawnSync('rm', [file]);
  mkdirSync(file, { mode: 0o700 });
  assert.match(runAll(place), /ssh\.toml/);
});

test('the disk is full', { skip: mountNamespace() }, (context) => {
  const place = makePlace(context);
  const script = `
    mount -t tmpfs -o mode=0700,size=64k none "$0" && cp "$1" "$0/ssh.toml" && chmod 600 "$0/ssh.toml"
    head -c 1000000 /dev/zero >"$0/filler" 2>/dev/null
    shift; "$@"; status=$?; "$program" agent stop --force >/dev/null 2>&1; exit $status`;
  const copy = join(place.home, 'settings');
  writeFileSync(copy, settings, { mode: 0o600 });
  const wrapper = ['unshare', '-m', 'sh', '-c', script, place.mint, copy];
  const said = runAll(place, { env: { program }, wrapper });
  assert.match(said, /ENOSPC|disk is full/);
});

test('ssh.toml cannot be read, or the directory cannot be written', { skip: otherUser() }, (context) => {
  const place = makePlace(context);
  const executable = join(place.home, 'mint-ssh');
  spawnSync('cp', [program, executable]);
  for (const path of [place.home, join(place.home, '.config'), place.mint, join(place.mint, 'ssh.toml')]) {
    chownSync(path, 65_534, 65_534);
  }
  for (let above = place.home; above !== '/'; above = join(above, '..')) {
    if (above !== place.home && above.includes('mint-')) chmodSync(above, 0o755);
  }
  const wrapper = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'];
  chmodSync(join(place.mint, 'ssh.toml'), 0);
  assert.match(runAll(place, { wrapper, executable }), /EACCES|permission denied/i);
  chmodSync(join(place.mint, 'ssh.toml'), 0o600);
  chmodSync(place.mint, 0o500);
  assert.match(runAll(place, { wrapper, executable }), /EACCES|permission denied/i);
  chmodSync(place.mint, 0o700);
});

function mountNamespace(): false | string {
  const { status } = spawnSync('unshare', ['-m', 'mount', '-t', 'tmpfs', 'none', '/mnt']);
  return status === 0 ? false : 'this machine allows no mount namespaces';
}

function otherUser(): false | string {
  return process.getuid?.() === 0 ? false : 'only root can run the program as another user';
}
