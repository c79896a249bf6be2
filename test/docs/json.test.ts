/** Compares docs/json.md with the output of the commands. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { makeWorld, type World } from '../openssh/world.ts';
import { codeWords, section, tableRows } from './pages.ts';

describe('docs/json.md', { timeout: 60_000 }, () => {
  let world: World;
  before(async () => {
    world = await makeWorld();
  });
  after(() => world.end());

  for (const words of [['vms'], ['doctor', 'dev']]) {
    test(`has the fields of mint-ssh ${words[0]} --json, and no other`, async () => {
      const { stdout } = await world.mint(...words, '--json');
      const rows = JSON.parse(stdout) as Record<string, unknown>[];
      assert.ok(rows.length > 0);
      const rowsOfPage = tableRows(section('docs/json.md', `## \`mint-ssh ${words[0]} --json\``));
      const documented = rowsOfPage.flatMap(([field = '']) => codeWords(field));
      for (const row of rows) {
        assert.deepEqual(Object.keys(row), documented);
        for (const key of Object.keys(row)) assert.match(key, /^[a-z]+(?:_[a-z]+)*$/);
      }
    });
  }

  test('vms with credentials that AWS refuses prints what is known, and fails', async () => {
    assert.equal((await world.mint('vms', '--refresh')).status, 0);
    const env = { AWS_ACCESS_KEY_ID: 'AKIAWRONG' };
    const refused = await world.start(world.program, ['vms', '--json', '--refresh'], { env }).done;
    assert.equal(refused.status, 1);
    assert.match(refused.stderr, /^mint-ssh: error: .*\(aws-credentials\)\nmint-ssh: hint: /m);
    assert.ok(Array.isArray(JSON.parse(refused.stdout)));
  });
});
