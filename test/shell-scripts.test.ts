import assert from 'node:assert/strict';
import { globSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { startChild } from './openssh/child.ts';

const root = join(import.meta.dirname, '..');

test('the shell scripts are what shellcheck wants', async () => {
  const scripts = globSync(['install.sh', '.ci/run', '{build,test}/**/*.sh'], { cwd: root }).sort();
  for (const known of ['install.sh', '.ci/run', 'test/package/debian-root.sh'])
    assert.ok(scripts.includes(known), known);
  const env = { PATH: process.env['PATH'] ?? '', LANG: 'C.UTF-8' };
  const { status, stdout, stderr } = await startChild('shellcheck', scripts, env, { cwd: root }).done;
  assert.equal(status, 0, stdout + stderr);
});
