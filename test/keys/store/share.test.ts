/** Keys shared in age files: the real `age` opens ours, and import reads its files. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { onTerminal } from '../../cli/asked.ts';
import { keysPlace, readDirectory } from './keys-program.ts';

function identity(directory: string, name: string): { readonly file: string; readonly recipient: string } {
  const file = join(directory, name);
  execFileSync('age-keygen', ['-o', file], { stdio: 'ignore' });
  chmodSync(file, 0o600);
  return { file, recipient: execFileSync('age-keygen', ['-y', file], { encoding: 'utf8' }).trim() };
}

async function shared(context: TestContext) {
  const place = keysPlace(context);
  assert.equal((await place.keys(['create', 'lab'])).status, 0);
  const [first, second, third] = ['first', 'second', 'third'].map((name) => identity(place.directory, name));
  assert.ok(first && second && third);
  return { place, first, second, third, key: readFileSync(join(place.store, 'lab'), 'utf8') };
}

describe('mint-ssh keys share', () => {
  test('writes one file for all recipients: age and import open it, and no other identity does', async (context) => {
    const { place, first, second, third, key } = await shared(context);
    const list = place.file('team', `# the team\n\n${second.recipient}\n`);
    const output = join(place.directory, 'lab.age');
    const made = await place.keys([
      'share',
      'lab',
      '--to',
      first.recipient,
      '--to',
      list,
      '--output',
      output,
    ]);
    assert.equal(made.status, 0, made.stderr);
    assert.equal(statSync(output).mode & 0o777, 0o600);
    assert.doesNotMatch(readFileSync(output, 'latin1'), /OPENSSH/);
    for (const { file } of [first, second]) {
      assert.equal(execFileSync('age', ['-d', '-i', file, output], { encoding: 'utf8' }), key);
    }
    assert.notEqual(spawnSync('age', ['-d', '-i', third.file, output], { stdio: 'ignore' }).status, 0);

    const store = join(place.directory, 'other');
    const taking = ['import', 'ours', '--store', store, '--key-file', output];
    assert.match((await place.keys([...taking, '--identity', third.file])).stderr, /\(key-passphrase\)/);
    assert.match((await place.keys(taking)).stderr, /--identity.*\(usage\)/);
    chmodSync(second.file, 0o644);
    assert.match((await place.keys([...taking, '--identity', second.file])).stderr, /\(unsafe-permissions\)/);
    chmodSync(second.file, 0o600);
    assert.deepEqual(readDirectory(store), []);
    const taken = await place.keys([...taking, '--identity', second.file]);
    assert.equal(taken.status, 0, taken.stderr);
    const blobs = [join(place.store, 'lab.pub'), join(store, 'ours.pub')].map(
      (path) => readFileSync(path, 'utf8').split(' ')[1],
    );
    assert.equal(blobs[0], blobs[1]);
  });

  test('writes a file that a passphrase opens, for age and for import', async (context) => {
    const { place, key } = await shared(context);
    const output = join(place.directory, 'lab.age');
    const words = ['share', 'lab', '--passphrase', '--output', output];
    const made = await place.keys(words, ['correct horse', 'correct horse']);
    assert.equal(made.status, 0, made.stderr);
    const plain = join(place.directory, 'plain');
    for (const [typed, opens] of [
      ['wrong horse', false],
      ['correct horse', true],
    ] as const) {
      const age = onTerminal(`age -d -o '${plain}' '${output}'`, place.env);
      await age.until(/passphrase/i);
      age.stdin.write(`${typed}\n`);
      assert.equal((await age.done).status === 0, opens);
    }
    assert.equal(readFileSync(plain, 'utf8'), key);
    const taking = ['import', 'again', '--key-file', output];
    assert.match((await place.keys(taking, ['wrong horse'])).stderr, /\(key-passphrase\)/);
    assert.equal((await place.keys(taking, ['correct horse'])).status, 0);
  });

  test('imports files that age has written, armored or not', async (context) => {
    const { place, first } = await shared(context);
    for (const armor of [[], ['-a']]) {
      const file = join(place.directory, `made${armor.length}`);
      execFileSync('age', [...armor, '-r', first.recipient, '-o', file, join(place.store, 'lab')]);
      chmodSync(file, 0o600);
      const words = ['import', `back-${armor.length}`, '--key-file', file, '--identity', first.file];
      const { status, stderr } = await place.keys(words);
      assert.equal(status, 0, stderr);
    }
  });

  test('refuses invalid recipients, and truncated files', async (context) => {
    const { place, first } = await shared(context);
    const output = join(place.directory, 'lab.age');
    const wrong = `${first.recipient.slice(0, -1)}${first.recipient.endsWith('q') ? 'p' : 'q'}`;
    const mixed = place.file('mixed', `${first.recipient}\nssh-ed25519 AAAA\n`);
    for (const to of [wrong, 'age1short', 'ssh-ed25519 AAAA', mixed, place.file('none', '# nobody\n')]) {
      const { status, stderr } = await place.keys(['share', 'lab', '--to', to, '--output', output]);
      assert.equal(status, 2, stderr);
      assert.match(stderr, /\(usage\)/);
    }
    const open = place.file('open', `${first.recipient}\n`, 0o666);
    const anyone = await place.keys(['share', 'lab', '--to', open, '--output', output]);
    assert.match(anyone.stderr, /\(unsafe-permissions\)/);
    assert.equal((await place.keys(['share', 'lab', '--to', first.recipient, '--output', output])).status, 0);
    const whole = readFileSync(output);
    for (const length of [60, 200, whole.length - 50]) {
      const cut = place.file('cut', whole.subarray(0, length));
      const { status, stderr } = await place.keys([
        'import',
        'new',
        '--key-file',
        cut,
        '--identity',
        first.file,
      ]);
      assert.equal(status, 1);
      assert.match(stderr, /\(key-(?:invalid|passphrase)\)/);
    }
  });
});
