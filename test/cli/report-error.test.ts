import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';

const terminal = join(import.meta.dirname, '../../src/cli/terminal.ts');
const errors = join(import.meta.dirname, '../../src/errors.ts');

test('an error whose words came from elsewhere unescaped does not act on the terminal', () => {
  const script = `
    import { reportError } from ${JSON.stringify(terminal)};
    import { MintError } from ${JSON.stringify(errors)};
    reportError(new MintError('key-format', 'with \\u009b31m \\u202e', { hint: 'a \\u001b[2J b' }), false);
    reportError(new Error('\\u009b'), false);
  `;
  const { stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' });
  assert.match(
    stderr,
    /error: with \\u\{9b\}31m \\u\{202e\} \(key-format\)\nmint-ssh: hint: a \\u\{1b\}\[2J b\n/,
  );
  assert.doesNotMatch(stderr.replaceAll('\n', ''), /[\p{Cc}\p{Cf}]/u);
});
