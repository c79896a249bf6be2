import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';

const main = join(import.meta.dirname, '../src/main.ts');

function mint(...words: string[]) {
  return spawnSync(process.execPath, [main, '--config-dir', '/nowhere', ...words], { encoding: 'utf8' });
}

test('without a command it asks for one, and an option that nobody knows is named, without its value', () => {
  assert.match(mint().stderr, /error: which command\? \(usage\)\n.*--help/);
  for (const words of [['--bogus'], ['--bogus=secret'], ['--timing', '--bogus']]) {
    const { status, stderr, stdout } = mint(...words);
    assert.deepEqual([status, stdout], [2, '']);
    assert.match(stderr, /^mint-ssh: error: no option is called "--bogus" \(usage\)\n.*hint: .*--help/);
  }
  assert.match(mint('-x').stderr, /no option is called "-x"/);
  assert.match(mint('--bogus\u202e\u001b[2J').stderr, /"--bogus\\u\{202e\}\\u\{1b\}\[2J"/);
});

test('an unknown word is named, and cut', () => {
  const { status, stderr } = mint('x'.repeat(500));
  assert.equal(status, 2);
  assert.match(stderr, /no command is called "x{40}" \(usage\)/);
});

test('a port of the proxy is decimal digits and nothing else', () => {
  for (const port of ['0x16', '1e3', ' 22', '22x', '0', '65536', '²²', '']) {
    const { status, stderr } = mint('proxy', 'dev', port);
    assert.equal(status, 2, port);
    assert.match(stderr, /invalid PORT: must be 1 to 65535 \(usage\)/, port);
  }
});

test('a user name with more in it than a name is refused by the proxy', () => {
  for (const user of ['a;b', '$(id)', 'a b', "o'brien", 'x'.repeat(33), '']) {
    const { status, stderr } = mint('proxy', 'dev', '22', user);
    assert.equal(status, 2, user);
    assert.match(stderr, /invalid USER: .* \(usage\)/, user);
  }
  // A name that is one gets as far as finding that there is no such VM.
  for (const user of ['ec2-user', 'anna@corp', 'svc$']) {
    assert.match(mint('proxy', 'dev', '22', user).stderr, /\(vm-not-found\)/, user);
  }
});
