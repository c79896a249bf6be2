import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { readUserConfig } from '../../src/ssh-config/user-config.ts';
import { findOverridden } from '../../src/ssh-config/verify.ts';
import { ownDirectory } from '../platform/directory.ts';

test('finds an overridden value, and the user’s line that overrides it', async (context) => {
  const directory = ownDirectory(context);
  const [ours, theirs] = [join(directory, 'ours'), join(directory, 'theirs')];
  writeFileSync(ours, 'Host dev build\n  User ubuntu\n  StrictHostKeyChecking yes\n', { mode: 0o600 });
  const above = '# mine\nHost dev\n  StrictHostKeyChecking no\nHost *\n';
  writeFileSync(theirs, `${above}Include ${ours}\n`, { mode: 0o600 });
  const found = await findOverridden(['dev', 'build'], ours, readUserConfig(theirs), theirs);
  assert.deepEqual(found, [
    { vm: 'dev', keyword: 'stricthostkeychecking', wanted: 'true', found: 'false', line: 3 },
  ]);
  writeFileSync(theirs, `Include ${ours}\n${above}`);
  assert.deepEqual(await findOverridden(['dev', 'build'], ours, readUserConfig(theirs), theirs), []);
});

test('finds an Include without effect', async (context) => {
  const directory = ownDirectory(context);
  const [ours, theirs] = [join(directory, 'ours'), join(directory, 'theirs')];
  writeFileSync(ours, 'Host dev\n  HostKeyAlias dev\n', { mode: 0o600 });
  writeFileSync(theirs, `Include ${ours}.missing\n`, { mode: 0o600 });
  const found = await findOverridden(['dev'], ours, readUserConfig(theirs), theirs);
  assert.deepEqual(
    found.map(({ keyword, line }) => [keyword, line]),
    [['hostkeyalias', undefined]],
  );
});
