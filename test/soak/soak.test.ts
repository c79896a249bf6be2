/** The short run of the soak: each of its faults once. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { startChild } from '../openssh/child.ts';
import { faults } from './faults.ts';

interface Told {
  readonly logins: number;
  readonly broken: readonly string[];
  readonly missing: Readonly<Record<string, string>>;
  readonly rows: readonly { readonly fault: string; readonly logins: number; readonly intact: number }[];
}

test('under every fault a login is intact or fails with a code, the next one works, and nothing is left', {
  timeout: 400_000,
}, async (context) => {
  const words = ['--logins', '30', '--at-once', '1', '--seed', '7', '--json'];
  const child = startChild(process.execPath, [join(import.meta.dirname, 'soak.ts'), ...words], process.env, {
    timeout: 380_000,
  });
  const { status, stdout, stderr } = await child.done;
  assert.ok(stdout.startsWith('{'), stderr);
  const { broken, logins, missing, rows } = JSON.parse(stdout) as Told;
  assert.deepEqual([broken, status], [[], 0], stderr);
  assert.ok(logins >= 30, `${logins} logins in: ${stderr}`);
  const counted = new Map(rows.map((row) => [row.fault, row]));
  for (const { name } of faults) {
    if (missing[name] === undefined) assert.ok((counted.get(name)?.logins ?? 0) > 0, `no login with ${name}`);
    else context.diagnostic(`left out: ${name}: ${missing[name]}`);
  }
  const plain = [...counted].filter(([name]) => name.startsWith('none'));
  for (const [name, row] of plain) assert.equal(row.intact, row.logins, name);
});
