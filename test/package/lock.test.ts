import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

const root = join(import.meta.dirname, '../..');

interface PackageNames {
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly devDependencies?: Readonly<Record<string, string>>;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}

interface Locked extends PackageNames {
  readonly version?: string;
  readonly integrity?: string;
  readonly link?: boolean;
}

const { packages } = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')) as {
  packages: Readonly<Record<string, Locked | undefined>>;
};
const own = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as PackageNames;

/** npm writes a lock for the machine it runs on, and has left other platforms' packages out of it before. */
test('the lock has every optional package of every platform, not only of the machine it was written on', () => {
  const missing = Object.entries(packages).flatMap(([path, entry]) =>
    Object.keys(entry?.optionalDependencies ?? {})
      .filter((name) => !reachable(path, name))
      .map((name) => `${path || 'mint-ssh'} wants ${name}`),
  );
  assert.deepEqual(missing, []);
});

test('the lock pins what package.json pins, each with its sum', () => {
  const wanted = { ...own.dependencies, ...own.devDependencies, ...own.optionalDependencies };
  assert.ok(Object.keys(wanted).length > 20);
  for (const [name, version] of Object.entries(wanted)) {
    assert.match(version, /^\d+\.\d+\.\d+(?:-[a-z0-9.]+)?$/, `${name} is pinned`);
    assert.equal(packages[`node_modules/${name}`]?.version, version, name);
  }
  for (const [path, { integrity, link } = {}] of Object.entries(packages))
    if (path !== '' && !link) assert.match(integrity ?? '', /^sha512-/, path);
});

/** Whether Node's search from a package's folder upwards finds another one in the lock. */
function reachable(from: string, name: string): boolean {
  const folders = from
    .split('/node_modules/')
    .map((_, index, parts) => parts.slice(0, index + 1).join('/node_modules/'));
  return ['', ...folders.map((folder) => `${folder}/`)].some(
    (folder) => packages[`${folder === '/' ? '' : folder}node_modules/${name}`] !== undefined,
  );
}
