/** The prompts of `mint-ssh keys` on a terminal. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { onTerminal } from '../../cli/asked.ts';
import type { Child } from '../../openssh/child.ts';
import { keysPlace, mainProgram, type Place } from './keys-program.ts';

function typing(place: Place, words: string): Child {
  return onTerminal(`exec '${process.execPath}' '${mainProgram}' keys ${words}`, place.env);
}

describe('mint-ssh keys on a terminal', () => {
  test('delete names the instances that still accept the key, and takes only y for a yes', async (context) => {
    const place = keysPlace(context);
    assert.equal((await place.keys(['create', 'lab'])).status, 0);
    const metadata = join(place.store, 'metadata.json');
    const used = readFileSync(metadata, 'utf8').replace('[]', '["my-\\u001b[31mworkstation", "other"]');
    writeFileSync(metadata, used);
    for (const typed of ['n', 'no', '', 'what']) {
      const child = typing(place, 'delete lab');
      await child.until(/Delete anyway\? \[y\/N\] /);
      assert.match(child.stdout, /Key 'lab' is used by 2 instances: my-\\u\{1b\}\[31mworkstation, other\./);
      assert.match(child.stdout, /They go on accepting it/);
      child.stdin.write(`${typed}\n`);
      const { status, stdout } = await child.done;
      assert.equal(status, 1);
      assert.match(stdout, /nothing was deleted/);
      assert.ok(existsSync(join(place.store, 'lab')));
    }
    const without = await place.keys(['delete', 'lab']);
    assert.equal(without.status, 2);
    assert.match(without.stderr, /is used by my-.*other\n.*\(usage\)\n.*--force/);

    const child = typing(place, 'delete lab');
    await child.until(/\[y\/N\] /);
    child.stdin.write('y\n');
    const { status, stdout } = await child.done;
    assert.equal(status, 0);
    assert.match(stdout, /still accepted by my-.*other/);
    assert.equal(existsSync(join(place.store, 'lab')), false);
    assert.equal(existsSync(join(place.store, 'lab.pub')), false);
  });

  test('export --passphrase asks twice, shows neither, and what it writes opens with it alone', async (context) => {
    const place = keysPlace(context);
    assert.equal((await place.keys(['create', 'lab'])).status, 0);
    const output = join(place.directory, 'out');
    const child = typing(place, `export lab --passphrase --output '${output}'`);
    await child.until(/New passphrase for .*: /);
    child.stdin.write('grüne Wiesen\r');
    await child.until(/again: /);
    child.stdin.write('grüne Wiesen\r');
    const { status, stdout } = await child.done;
    assert.equal(status, 0, stdout);
    assert.doesNotMatch(stdout, /Wiesen/);
    assert.equal(statSync(output).mode & 0o777, 0o600);
    const keygen = (secret: string) =>
      execFileSync('ssh-keygen', ['-y', '-P', secret, '-f', output], { encoding: 'utf8', stdio: 'pipe' });
    assert.equal(keygen('grüne Wiesen').trim(), readFileSync(join(place.store, 'lab.pub'), 'utf8').trim());
    assert.throws(() => keygen(''));
  });

  test('Ctrl-C at the passphrase ends it, and nothing is written', async (context) => {
    const place = keysPlace(context);
    assert.equal((await place.keys(['create', 'lab'])).status, 0);
    const output = join(place.directory, 'out');
    const child = typing(place, `export lab --passphrase --output '${output}'`);
    await child.until(/New passphrase for .*: /);
    child.stdin.write('half\x03');
    const { status } = await child.done;
    assert.equal(status, 130);
    assert.equal(existsSync(output), false);
  });
});
