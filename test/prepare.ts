/**
 * Installs what the tests need and this machine lacks, through apt where it may; else stops and names what is missing. Prints
 * nothing where everything is there.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, globSync, mkdirSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { missingPrograms } from './programs.ts';

const root = join(import.meta.dirname, '..');

function fail(message: string): never {
  process.stderr.write(`test/prepare.ts: ${message}\n`);
  process.exit(1);
}

/** Runs a program with its output on our stderr. @returns whether it succeeded */
function run(program: string, words: readonly string[], { cwd = root, quiet = false } = {}): boolean {
  return (
    spawnSync(program, words, { cwd, stdio: ['ignore', quiet ? 'ignore' : 2, quiet ? 'ignore' : 2] })
      .status === 0
  );
}

const isRoot = process.getuid?.() === 0;

function runAsRoot(program: string, words: readonly string[], quiet = false): boolean {
  return isRoot ? run(program, words, { quiet }) : run('sudo', ['-n', program, ...words], { quiet });
}

const missing = missingPrograms();
if (missing.length > 0) {
  const packages = [...new Set(missing.map((each) => each.package))].sort();
  const names = missing.map(({ what }) => what).join(' ');
  if (!run('apt-get', ['--version'], { quiet: true }))
    fail(`the tests need these programs, and there is no apt-get to install them: ${names}`);
  if (!runAsRoot('true', [], true))
    fail(`the tests need more programs: apt-get install ${packages.join(' ')}`);
  process.stderr.write(`test/prepare.ts: installing ${packages.join(' ')}\n`);
  if (!runAsRoot('apt-get', ['update', '-q'])) fail('apt-get update failed');
  // RUNLEVEL: the packages' servers are not started.
  const install = ['env', 'DEBIAN_FRONTEND=noninteractive', 'RUNLEVEL=1', 'apt-get', 'install', '-q', '-y'];
  const [program = '', ...words] = [...install, '--no-install-recommends', ...packages];
  if (!runAsRoot(program, words)) fail('apt-get install failed');
  const left = missingPrograms().map(({ what }) => what);
  if (left.length > 0) fail(`still missing after apt-get install: ${left.join(' ')}`);
}

// sshd run by root needs this empty folder, which the start-up of a container may not have made.
if (isRoot) mkdirSync('/run/sshd', { recursive: true, mode: 0o755 });

// Debian's JSch is old. Where there is a JDK, Maven fetches the maintained one; its test is skipped elsewhere.
const jsch = join(homedir(), '.m2/repository/com/github/mwiede/jsch/0.2.23/jsch-0.2.23.jar');
if (
  !existsSync(jsch) &&
  run('javac', ['-version'], { quiet: true }) &&
  run('mvn', ['-version'], { quiet: true })
) {
  const words = ['120', 'mvn', '-q', '-B', 'dependency:get', '-Dtransitive=false'];
  if (!run('timeout', [...words, '-Dartifact=com.github.mwiede:jsch:0.2.23']))
    process.stderr.write('test/prepare.ts: JSch could not be fetched\n');
}

// cloud-init is unpacked and not installed: an installed one would configure a machine that boots with it.
const unpacked = join(root, 'node_modules/.cache/cloud-init');
if (!existsSync(join(unpacked, 'usr/bin/cloud-init'))) {
  mkdirSync(unpacked, { recursive: true });
  const download = () => run('apt-get', ['download', '-q', 'cloud-init'], { cwd: unpacked, quiet: true });
  const fetched = download() || (runAsRoot('apt-get', ['update', '-q'], true) && download());
  const [archive] = globSync(join(unpacked, 'cloud-init_*.deb'));
  if (!fetched || archive === undefined || !run('dpkg-deb', ['-x', archive, unpacked]))
    process.stderr.write('test/prepare.ts: cloud-init could not be fetched\n');
}
