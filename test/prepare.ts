/**
 * Installs what the tests need and this machine lacks, through apt where it may; else stops and names what is missing. Prints
 * nothing where everything is there. With `--all` also what the slow tier needs, from other registries too.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, globSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { installPackages } from './clients/packages.ts';
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

const slow = process.argv.includes('--all');
const missing = missingPrograms({ slow });
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
  const left = missingPrograms({ slow }).map(({ what }) => what);
  if (left.length > 0) fail(`still missing after apt-get install: ${left.join(' ')}`);
}

// sshd run by root needs this empty folder, which the start-up of a container may not have made.
if (isRoot) mkdirSync('/run/sshd', { recursive: true, mode: 0o755 });

// The test of a client whose registry cannot be reached fails with a message.
if (slow) {
  for (const registry of installPackages())
    process.stderr.write(`test/prepare.ts: SSH clients could not be installed from ${registry}\n`);
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
