/**
 * The SSH clients, and one cloud, that the tests take from PyPI, Maven Central and the Go module proxy. `test/prepare.ts --all`
 * installs them below the user's cache, in a folder named by what is pinned in `packages/`, so that they are installed once.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

const pinned = join(import.meta.dirname, 'packages');
const pins = [
  'requirements.txt',
  'pom.xml',
  'SHA256SUMS',
  'go-login/go.mod',
  'go-login/go.sum',
  'go-login/main.go',
];
const directory = join(homedir(), '.cache/mint-ssh-tests', hashOfPins());

/** A Python with paramiko, asyncssh, Fabric and moto. */
export const python = join(directory, 'python/bin/python');
/** The folder with the jars of JSch and sshj, and of what they need. */
export const jars = join(directory, 'jars');
/** `packages/go-login`, built. */
export const goLogin = join(directory, 'go-login');

interface Part {
  /** The file that exists once the part is installed completely. */
  readonly installed: string;
  /** The registry that it comes from. */
  readonly from: string;
  readonly commands: readonly (readonly string[])[];
}

const venv = join(directory, 'python');

const parts: readonly Part[] = [
  {
    installed: join(directory, 'python.installed'),
    from: 'PyPI',
    commands: [
      ['/usr/bin/python3', '-m', 'venv', '--clear', venv],
      [
        ...[
          python,
          '-m',
          'pip',
          'install',
          '-q',
          '--no-compile',
          '--disable-pip-version-check',
          '--only-binary',
          ':all:',
        ],
        ...['--require-hashes', '-r', join(pinned, 'requirements.txt')],
      ],
    ],
  },
  {
    installed: join(directory, 'jars.installed'),
    from: 'Maven Central',
    commands: [
      [
        ...['mvn', '-q', '-B', '-f', join(pinned, 'pom.xml'), 'dependency:copy-dependencies'],
        `-DoutputDirectory=${jars}`,
      ],
      ['sh', '-c', 'cd "$1" && sha256sum --quiet -c "$2"', 'sh', jars, join(pinned, 'SHA256SUMS')],
    ],
  },
  {
    installed: join(directory, 'go-login.installed'),
    from: 'the Go module proxy',
    commands: [
      [
        ...[
          'env',
          '-C',
          join(pinned, 'go-login'),
          'GOTOOLCHAIN=local',
          'GOFLAGS=-mod=readonly',
          'CGO_ENABLED=0',
        ],
        ...[join(venv, 'bin/go'), 'build', '-o', goLogin, '.'],
      ],
    ],
  },
];

/**
 * Installs what is missing. The commands' output goes to stderr.
 * @returns the registries whose part could not be installed
 */
export function installPackages(): string[] {
  return parts.filter((part) => !install(part)).map(({ from }) => from);
}

function install({ installed, from, commands }: Part): boolean {
  if (existsSync(installed)) return true;
  process.stderr.write(`test/prepare.ts: installing SSH clients from ${from}\n`);
  mkdirSync(directory, { recursive: true });
  for (const [program = '', ...words] of commands) {
    const { status } = spawnSync(program, words, { stdio: ['ignore', 2, 2], timeout: 600_000 });
    if (status !== 0) return false;
  }
  writeFileSync(installed, '');
  return true;
}

/** @throws what to do, where a part is missing: a test that needs it fails, and is not skipped */
export function requirePackages(): void {
  const missing = parts.filter(({ installed }) => !existsSync(installed)).map(({ from }) => from);
  if (missing.length > 0)
    throw new Error(
      `not installed from ${missing.join(', ')}: run node test/prepare.ts --all, and see what it says`,
    );
}

function hashOfPins(): string {
  const hash = createHash('sha256');
  for (const name of pins) hash.update(name).update(readFileSync(join(pinned, name)));
  return hash.digest('hex').slice(0, 16);
}
