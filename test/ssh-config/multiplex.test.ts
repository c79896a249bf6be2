import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { resolvePaths } from '../../src/platform/paths.ts';
import { sharingLines } from '../../src/ssh-config/multiplex.ts';
import { ownDirectory, refusal } from '../platform/directory.ts';

/** ssh's longest control path: for the longest user and highest port, with the suffix that it adds temporarily. */
const longest = 'u'.repeat(32);
const suffix = '.0123456789abcdef'.length;

test('the socket’s path fits for every directory, or the error names the setting that helps', (context) => {
  const directory = ownDirectory(context);
  const file = join(directory, 'config');
  const forms = new Set<string>();
  for (let length = 10; length < 70; length += 1) {
    const paths = resolvePaths({ configDir: directory, runDir: `/${'r'.repeat(length - 1)}` });
    for (const vm of ['d', 'dev-build-2', 'x'.repeat(63)]) {
      if (length > 41) {
        assert.throws(
          () => sharingLines(vm, '10m', paths),
          refusal('agent-unavailable', /too long for multiplex/),
        );
        continue;
      }
      const lines = sharingLines(vm, '10m', paths).map((line) => line.join(' '));
      writeFileSync(file, `Host *\n${lines.join('\n')}\n`);
      const shown = execFileSync('ssh', ['-F', file, '-G', '-p', '65535', `${longest}@${vm}`], {
        encoding: 'utf8',
      });
      const path = /^controlpath (.*)$/m.exec(shown)?.[1] ?? '';
      assert.ok(path.startsWith(`${paths.sharedSockets}/`), path);
      const expanded = path.replace('%p', '65535').replace('%r', longest).replace('%C', 'c'.repeat(40));
      assert.ok(Buffer.byteLength(expanded) + suffix <= 103, expanded);
      forms.add(path.includes(vm.slice(0, 3)) && !path.includes('%C') ? 'named' : 'hashed');
    }
  }
  assert.deepEqual([...forms].sort(), ['hashed', 'named']);
});

test('each VM, user and port has its own socket', (context) => {
  const paths = resolvePaths({ configDir: ownDirectory(context), runDir: '/r' });
  const pathOf = (vm: string, port: string, user: string) =>
    sharingLines(vm, '10m', paths)
      .find(([keyword]) => keyword === 'ControlPath')?.[1]
      .replace('%p', port)
      .replace('%r', user);
  const all = ['dev', 'dev-22', 'dev-22-22'].flatMap((vm) =>
    ['22', '2222'].flatMap((port) =>
      ['bob', '22-bob', '22:bob', '2:bob'].map((user) => pathOf(vm, port, user)),
    ),
  );
  assert.equal(new Set(all).size, all.length);
});
