import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { test } from 'node:test';
import { version } from '../src/version.ts';

const root = join(import.meta.dirname, '..');

/** From the top of the program to its ground: a folder may import from folders that stand after it. */
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
  ['version.ts'],
  ['errors.ts'],
];

interface Import {
  readonly from: string;
  readonly to: string;
  readonly typeOnly: boolean;
}

function part(path: string): string {
  return path.split('/')[0] ?? '';
}

function importsOf(file: string): Import[] {
  const text = readFileSync(join(root, 'src', file), 'utf8');
  const statements = text.matchAll(/(?:^import (type )?[^;]*?from |import\()'(\.[^']+)'/gms);
  return [...statements].map(([, type, path = '']) => ({
    from: file,
    to: relative('.', join(dirname(file), path)),
    typeOnly: type !== undefined,
  }));
}

const files = globSync('**/*.ts', { cwd: join(root, 'src') });
const imports = files.flatMap(importsOf);

test('every folder imports only from folders below it', () => {
  assert.ok(imports.length > 100, 'the imports were found');
  const height = (path: string) => layers.findIndex((layer) => layer.includes(part(path)));
  const wrong = imports.filter(({ from, to }) => {
    assert.notEqual(height(to), -1, `${to} stands in no layer`);
    return part(from) !== part(to) && height(from) >= height(to);
  });
  assert.deepEqual(wrong, []);
});

test('the proxy can reach neither the AWS SDK, nor a TOML parser, nor ssh2, and ws at its use alone', () => {
  const reached = new Set<string>();
  const queue = ['commands/proxy.ts'];
  for (let file = queue.pop(); file !== undefined; file = queue.pop()) {
    if (reached.has(file)) continue;
    reached.add(file);
    queue.push(...imports.filter(({ from, typeOnly }) => from === file && !typeOnly).map(({ to }) => to));
  }
  assert.ok(reached.has('proxy/bridge.ts'));
  assert.ok(reached.has('proxy/tunnel.ts'));
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
