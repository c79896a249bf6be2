import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { test } from 'node:test';
import { version } from '../src/version.ts';

const root = join(import.meta.dirname, '..');

/** From the entry point down: a folder imports only from folders further down this list. */
const layers = [
  ['main.ts'],
  ['commands'],
  ['demo'],
  ['ci'],
  ['proxy', 'doctor'],
  ['agent'],
  ['keys'],
  ['vms'],
  ['trust', 'aws'],
  ['ssh-config'],
  ['settings'],
  ['platform'],
  ['ssh'],
  ['cli'],
  ['platform/system'],
  ['version.ts'],
  ['errors.ts'],
];

/** Import circles that are still there. Remove an entry once its circle is gone; never add one. */
const knownCircles: string[][] = [];

interface Import {
  readonly from: string;
  readonly to: string;
  readonly typeOnly: boolean;
}

/** The folder of a file in `layers`. */
function part(path: string): string {
  return path.startsWith('platform/system/') ? 'platform/system' : (path.split('/')[0] ?? '');
}

/** Imports and re-exports of our own files, `import type` and `import()` included. */
function importsOf(file: string): Import[] {
  const text = readFileSync(join(root, 'src', file), 'utf8');
  const statements = text.matchAll(
    /^(?:import|export) (type )?[^;]*?from '(\.[^']+)'|^import '(\.[^']+)'|import\('(\.[^']+)'/gms,
  );
  return [...statements].map(([, type, named, bare, dynamic]) => ({
    from: file,
    to: relative('.', join(dirname(file), named ?? bare ?? dynamic ?? '')),
    typeOnly: type !== undefined,
  }));
}

/** The strongly connected components with more than one file (Tarjan 1972), each sorted by name. */
function circlesIn(arrows: readonly Import[]): string[][] {
  const next = Map.groupBy(arrows, ({ from }) => from);
  const order = new Map<string, number>();
  const open: string[] = [];
  const circles: string[][] = [];
  const visit = (file: string): number => {
    const index = order.size;
    order.set(file, index);
    let low = index;
    open.push(file);
    for (const { to } of next.get(file) ?? []) {
      if (!order.has(to)) low = Math.min(low, visit(to));
      else if (open.includes(to)) low = Math.min(low, order.get(to) ?? 0);
    }
    if (low === index) {
      const component = open.splice(open.indexOf(file));
      if (component.length > 1) circles.push(component.sort());
    }
    return low;
  };
  for (const file of next.keys()) if (!order.has(file)) visit(file);
  return circles.sort();
}

const files = globSync('**/*.ts', { cwd: join(root, 'src') });
const imports = files.flatMap(importsOf);

test('every folder imports only from folders below it', () => {
  assert.ok(imports.length > 100, 'the imports were found');
  const height = (path: string) => layers.findIndex((layer) => layer.includes(part(path)));
  const wrong = imports.filter(({ from, to }) => {
    assert.notEqual(height(from), -1, `${from} is in no layer`);
    assert.notEqual(height(to), -1, `${to} is in no layer`);
    return part(from) !== part(to) && height(from) >= height(to);
  });
  assert.deepEqual(wrong, []);
});

test('no file imports itself through others, by value or by type', () => {
  assert.deepEqual(circlesIn(imports), knownCircles);
});

test('a circle is found whatever kind of import closes it', () => {
  const arrow = (from: string, to: string, typeOnly = false) => ({ from, to, typeOnly });
  assert.deepEqual(
    circlesIn([arrow('a', 'b'), arrow('b', 'c', true), arrow('c', 'a', true), arrow('c', 'd')]),
    [['a', 'b', 'c']],
  );
  assert.deepEqual(circlesIn([arrow('a', 'b'), arrow('a', 'c'), arrow('b', 'c')]), []);
});

test('the proxy can reach neither the AWS SDK, nor a TOML parser, nor ssh2, and ws at its use alone', () => {
  const reached = new Set<string>();
  const queue = ['commands/proxy.ts'];
  for (let file = queue.pop(); file !== undefined; file = queue.pop()) {
    if (reached.has(file)) continue;
    reached.add(file);
    queue.push(...imports.filter(({ from, typeOnly }) => from === file && !typeOnly).map(({ to }) => to));
  }
  assert.ok(reached.has('proxy/pipe.ts'));
  assert.ok(reached.has('proxy/routes/endpoint-tunnel.ts'));
  const packages = [...reached].flatMap((file) => {
    const text = readFileSync(join(root, 'src', file), 'utf8');
    return [...text.matchAll(/^import (?!type )[^;]*?from '([^.'][^']*)'/gms)].map(([, name = '']) => name);
  });
  assert.deepEqual(
    packages.filter((name) => !name.startsWith('node:') || name === 'node:sqlite'),
    [],
  );
  assert.deepEqual(
    [...reached].filter((file) => file.startsWith('aws/') || file === 'settings/settings.ts'),
    [],
  );
});

test('the wire layer needs no more of Node than its cryptography', () => {
  for (const file of files.filter((name) => name.startsWith('ssh/'))) {
    const text = readFileSync(join(root, 'src', file), 'utf8');
    const modules = [...text.matchAll(/from '(node:[^']+)'/g)].map(([, name]) => name);
    assert.deepEqual(
      modules.filter((name) => name !== 'node:crypto'),
      [],
      file,
    );
  }
});

test('only src/platform/system asks on which system it runs, and each of its files is one system', () => {
  const asking = files.filter((file) => {
    const text = readFileSync(join(root, 'src', file), 'utf8');
    return /process\.platform|\bplatform\(\)|\{[^}]*\bplatform\b[^}]*\} from 'node:(?:os|process)'/.test(
      text,
    );
  });
  assert.deepEqual(asking.sort(), ['platform/system/system.ts', 'platform/system/unix.ts']);
});

test('only main.ts ends the process', () => {
  const ending = files.filter((file) =>
    readFileSync(join(root, 'src', file), 'utf8').includes('process.exit('),
  );
  assert.deepEqual(ending, ['main.ts']);
});

test('the version is the package’s', () => {
  const { version: packaged } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
    version: string;
  };
  assert.equal(version, packaged);
});
