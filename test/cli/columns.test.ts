import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { columns } from '../../src/cli/columns.ts';
import { onTerminal } from './asked.ts';

const main = join(import.meta.dirname, '../../src/main.ts');

test('a table that is too wide leaves out the optional columns, then cuts one', () => {
  const head = ['ID', 'NAME', 'HOLDER'];
  const rows = [['0123456789ab', 'a-rather-long-name-of-a-vm', 'somebody@somewhere, pid 12345']];
  const shown = columns(head, rows, { maxWidth: 30, optional: [2], cut: 1 });
  assert.equal(shown, 'ID            NAME\n0123456789ab  a-rather-long-n…');
  assert.equal(columns(head, rows, { cut: 1 }).split('\n')[1], rows[0]?.join('  '));
});

test('hosts has no line that wraps on a terminal of 80 columns', async (context) => {
  const directory = mkdtempSync(join(tmpdir(), 'mint-columns-'));
  context.after(() => rmSync(directory, { recursive: true }));
  const pins = ['dev', 'a-rather-long-name'].map((vm) => `${vm}=SHA256:${'a'.repeat(42)}A\n`);
  writeFileSync(join(directory, 'known_hosts'), pins.join(''), { mode: 0o600 });
  const words = `'${process.execPath}' '${main}' --config-dir '${directory}' hosts`;
  const { stdout } = await onTerminal(`stty cols 80; ${words}`).done;
  const lines = stdout.split(/\r?\n/);
  assert.ok(
    lines.some((line) => line.includes(`SHA256:${'a'.repeat(42)}A`)),
    stdout,
  );
  for (const line of lines) assert.ok(line.length <= 80, line);
});
