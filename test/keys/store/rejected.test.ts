/** Refusals of `mint-ssh keys`: each with an error, and without a change of the store. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, readFileSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { makeKey } from '../key-lines.ts';
import { keysPlace, type Place, snapshot } from './keys-program.ts';

async function refused(
  place: Place,
  words: readonly string[],
  [code, status]: readonly [string, number],
  passphrases?: readonly string[],
): Promise<string> {
  const before = snapshot(place.directory);
  const ended = await place.keys(words, passphrases);
  const told = `${words.join(' ')}\n${ended.stderr}`;
  assert.match(ended.stderr, new RegExp(`^mint-ssh: error: .+ \\(${code}\\)$`, 'm'), told);
  assert.equal(ended.status, status, told);
  assert.equal(ended.stdout, '', told);
  const after = snapshot(place.directory);
  // The other user's directory is not part of the store.
  for (const files of [before, after]) for (const name of ['askpass', 'answers']) delete files[name];
  assert.deepEqual(after, before, told);
  return ended.stderr;
}

describe('mint-ssh keys refuses, and writes nothing', () => {
  test('invalid key names', async (context) => {
    const place = keysPlace(context);
    const names = ['../x', 'metadata.json', '', 'x'.repeat(300), 'a/b', 'a\n', 'Kelvin-\u212a', '.journal'];
    for (const name of names) {
      await refused(place, ['create', name], ['key-name', 2]);
    }
    await refused(place, ['show', '..'], ['key-name', 2]);
    await refused(place, ['rotate', '../x'], ['key-name', 2]);
    await refused(place, ['delete', 'a.pub', '--force'], ['key-name', 2]);
  });

  test('arguments and options that contradict each other', async (context) => {
    const place = keysPlace(context);
    for (const words of [
      ['turn', 'x'],
      ['create'],
      ['create', 'a', 'b'],
      ['list', 'a'],
      ['list', '--force'],
      ['create', 'a', '--type', 'dsa'],
      ['create', 'a', '--region', 'nowhere'],
      ['import', 'a'],
      ['export', 'a'],
      ['export', 'a', '--output', '-'],
      ['add', 'vm', 'key'],
      ['migrate', '--force', '--keep-originals'],
      ['export', 'a', '--output', 'f', '--format', 'ppk'],
      ['share', 'a', '--output', 'f'],
    ]) {
      const told = await refused(
        place,
        words,
        words.includes('nowhere') ? ['(usage|bad-settings)', 2] : ['usage', 2],
      );
      if (!words.includes('nowhere')) assert.match(told, /hint:/);
    }
  });

  test('two profiles with the same key name', async (context) => {
    const place = keysPlace(context);
    assert.equal((await place.keys(['create', 'My Lab'])).status, 0);
    for (const other of ['my_lab', 'my-lab', 'MY LAB', 'My Lab']) {
      await refused(place, ['create', other], ['key-exists', 1]);
    }
    assert.match(
      await refused(place, ['create', 'my_lab'], ['key-exists', 1]),
      /"my_lab" is kept as my-lab, and there is a key of that name already/,
    );
    assert.equal((await place.keys(['public', 'my_lab'])).status, 0);
  });

  test('files without a supported key, or that others can read', async (context) => {
    const place = keysPlace(context);
    assert.equal((await place.keys(['create', 'there'])).status, 0);
    const line = makeKey(place.directory, 'good', '-t', 'ed25519');
    const good = readFileSync(join(place.directory, 'good'), 'utf8');
    const openssl = (...words: string[]) =>
      execFileSync('openssl', words, { stdio: ['ignore', 'pipe', 'ignore'] });
    const cases: readonly (readonly [string, string])[] = [
      [place.file('public', line), 'key-invalid'],
      // Its mode is that of every public key, and not what is wrong with it.
      [join(place.directory, 'good.pub'), 'key-invalid'],
      [place.file('small', openssl('genrsa', '1024')), 'key-invalid'],
      [place.file('cut', good.slice(0, 200)), 'key-invalid'],
      [place.file('empty', ''), 'key-invalid'],
      [place.file('large', Buffer.alloc(70_000, 'x')), 'key-invalid'],
      [join(place.directory, 'nothing'), 'io-failed'],
    ];
    for (const [path, code] of cases) {
      await refused(place, ['import', 'new', '--key-file', path], [code, 1]);
    }
    for (const mode of [0o644, 0o640, 0o604, 0o660]) {
      const path = place.file('open', good, mode);
      const told = await refused(place, ['import', 'new', '--key-file', path], ['unsafe-permissions', 3]);
      assert.match(told, /hint: chmod go-rwx .*open$/m);
    }
    symlinkSync(place.file('closed', good), join(place.directory, 'link'));
    assert.equal(
      (await place.keys(['import', 'new', '--key-file', join(place.directory, 'link')])).status,
      0,
    );
    await refused(place, ['import', 'new', '--key-file', join(place.directory, 'good')], ['key-exists', 1]);
  });

  test('a wrong passphrase, none, one that is too short, and two that differ', async (context) => {
    const place = keysPlace(context);
    const path = join(place.directory, 'locked');
    makeKey(place.directory, 'locked', '-t', 'ed25519');
    execFileSync('ssh-keygen', ['-q', '-p', '-N', 'sesame 5', '-f', path]);
    const words = ['import', 'locked', '--key-file', path];
    await refused(place, words, ['key-passphrase', 1], ['sesame 6']);
    await refused(place, words, ['key-passphrase', 1], ['']);
    assert.match(await refused(place, words, ['key-passphrase', 1]), /cannot ask for the passphrase/);
    assert.equal((await place.keys(words, ['sesame 5'])).status, 0);
    // It is kept under the passphrase it came with.
    const kept = join(place.store, 'locked');
    const opened = execFileSync('ssh-keygen', ['-y', '-P', 'sesame 5', '-f', kept], { encoding: 'utf8' });
    assert.match(opened, /^ssh-ed25519 /);
    assert.throws(() => execFileSync('ssh-keygen', ['-y', '-P', '', '-f', kept], { stdio: 'ignore' }));

    const output = join(place.directory, 'out');
    const exporting = ['export', 'locked', '--output', output, '--passphrase'];
    await refused(place, exporting, ['key-passphrase', 1], ['sesame 5', '11 letters.', '11 letters.']);
    await refused(
      place,
      exporting,
      ['key-passphrase', 1],
      ['sesame 5', 'these four words', 'those four words'],
    );
    await refused(place, exporting, ['key-passphrase', 1], ['wrong', 'these four words', 'these four words']);
  });

  test('an existing output file, and a format that does not support the key', async (context) => {
    const place = keysPlace(context);
    assert.equal((await place.keys(['create', 'lab'])).status, 0);
    const output = place.file('there', 'mine');
    await refused(place, ['export', 'lab', '--output', output], ['key-exists', 1]);
    await refused(place, ['share', 'lab', '--passphrase', '--output', output], ['key-exists', 1]);
    const free = join(place.directory, 'free');
    await refused(place, ['export', 'lab', '--output', free, '--format', 'pem'], ['key-format', 1]);
  });

  test('a metadata.json that is broken, of a later version, or writable for others', async (context) => {
    const place = keysPlace(context);
    assert.equal((await place.keys(['create', 'lab'])).status, 0);
    const metadata = join(place.store, 'metadata.json');
    const good = readFileSync(metadata, 'utf8');
    const all = [['list'], ['show', 'lab'], ['public', 'lab'], ['create', 'b'], ['delete', 'lab', '--force']];
    for (const text of [
      '',
      good.slice(0, -20),
      '[]',
      '{"keys": {}}',
      '{"keys": 5, "version": "1.0"}',
      good.replace('"1.0"', '"2.0"'),
      good.replace('"1.0"', '"1.1"'),
    ]) {
      writeFileSync(metadata, text);
      for (const words of text.includes('"2.0"') ? all : [['create', 'b']]) {
        const told = await refused(place, words, ['key-store', 1]);
        assert.match(told, /hint:/);
      }
    }
    writeFileSync(metadata, good);
    chmodSync(metadata, 0o666);
    await refused(place, ['list'], ['unsafe-permissions', 3]);
  });

  test('missing files, and files that others can read: each is named with a remedy', async (context) => {
    const place = keysPlace(context);
    assert.equal((await place.keys(['create', 'lab'])).status, 0);
    const path = join(place.store, 'lab');
    const [key, line] = [readFileSync(path), readFileSync(`${path}.pub`)];
    const output = join(place.directory, 'out');
    const uses = [
      ['show', 'lab'],
      ['export', 'lab', '--output', output],
    ];
    chmodSync(path, 0o644);
    for (const words of uses) {
      assert.match(await refused(place, words, ['unsafe-permissions', 3]), /hint: chmod go-rwx .*lab$/m);
    }
    unlinkSync(path);
    for (const words of [...uses, ['share', 'lab', '--passphrase', '--output', output]]) {
      assert.match(await refused(place, words, ['key-store', 1]), /file is missing/);
    }
    const listed = await place.keys(['list']);
    assert.equal(listed.status, 1);
    assert.match(listed.stdout, /^lab /m);
    assert.match(listed.stderr, /file is missing.*\(key-store\)\n.*keys doctor/);
    writeFileSync(path, key, { mode: 0o600 });
    unlinkSync(`${path}.pub`);
    await refused(place, ['public', 'lab'], ['key-store', 1]);
    writeFileSync(`${path}.pub`, line);
    chmodSync(place.store, 0o755);
    assert.match(await refused(place, ['list'], ['unsafe-permissions', 3]), /hint: chmod go-rwx/);
  });

  test('another program’s key at the path of the new one', async (context) => {
    const place = keysPlace(context);
    mkdirSync(place.store, { recursive: true, mode: 0o700 });
    makeKey(place.store, 'lab', '-t', 'ed25519');
    assert.match(await refused(place, ['create', 'lab'], ['key-exists', 1]), /keys doctor/);
    rmSync(join(place.store, 'lab'));
    await refused(place, ['create', 'lab'], ['key-exists', 1]);
  });
});
