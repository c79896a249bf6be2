import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { makeKey } from '../key-lines.ts';
import { keysPlace, readDirectory, snapshot } from './keys-program.ts';

describe('mint-ssh keys doctor', () => {
  test('reports a valid store, and a missing one', async (context) => {
    const place = keysPlace(context);
    const none = await place.keys(['doctor']);
    assert.deepEqual([none.status, readDirectory(place.store)], [0, []]);
    assert.equal((await place.keys(['create', 'lab'])).status, 0);
    const before = snapshot(place.store);
    const { status, stderr } = await place.keys(['doctor']);
    assert.equal(status, 0);
    assert.match(stderr, /no problems found/);
    assert.deepEqual(snapshot(place.store), before);
  });

  test('fixes modes and a missing or wrong public key, and removes leftovers', async (context) => {
    const place = keysPlace(context);
    for (const name of ['one', 'two', 'three']) {
      assert.equal((await place.keys(['create', name])).status, 0);
    }
    const before = snapshot(place.store);
    chmodSync(place.store, 0o755);
    chmodSync(join(place.store, 'one'), 0o644);
    chmodSync(join(place.store, 'metadata.json'), 0o666);
    chmodSync(join(place.store, 'one.pub'), 0o666);
    unlinkSync(join(place.store, 'two.pub'));
    copyFileSync(join(place.store, 'one.pub'), join(place.store, 'three.pub'));
    chmodSync(join(place.store, 'three.pub'), 0o644);
    writeFileSync(join(place.store, '.one.0123456789abcdef.tmp'), 'a secret', { mode: 0o600 });
    const { status, stderr } = await place.keys(['doctor']);
    assert.equal(status, 0, stderr);
    assert.equal(stderr.match(/repaired: /g)?.length, 6, stderr);
    assert.deepEqual(snapshot(place.store), before);
    assert.equal(statSync(place.store).mode & 0o777, 0o700);
    assert.match((await place.keys(['doctor'])).stderr, /no problems found/);
  });

  test('adds keys that metadata.json does not have, and replaces a broken one', async (context) => {
    const place = keysPlace(context);
    assert.equal((await place.keys(['create', 'lab'])).status, 0);
    makeKey(place.store, 'plain', '-t', 'rsa', '-b', '2048', '-m', 'PEM');
    makeKey(place.store, 'locked', '-t', 'ed25519');
    execFileSync('ssh-keygen', ['-q', '-p', '-N', 'sesame 5', '-f', join(place.store, 'locked')]);
    unlinkSync(join(place.store, 'locked.pub'));
    writeFileSync(join(place.store, 'metadata.json'), '{"keys": {"lab"');
    const { status, stderr } = await place.keys(['doctor']);
    assert.equal(status, 0, stderr);
    const aside = readDirectory(place.store).filter((file) => file.startsWith('metadata.json.broken-'));
    assert.equal(aside.length, 1);
    assert.equal(readFileSync(join(place.store, aside[0] ?? ''), 'utf8'), '{"keys": {"lab"');
    const { stdout } = await place.keys(['list', '--json']);
    const types = (JSON.parse(stdout) as { profile: string; type: string }[]).map(({ profile, type }) => [
      profile,
      type,
    ]);
    assert.deepEqual(types.sort(), [
      ['lab', 'ed25519'],
      ['locked', 'ed25519'],
      ['plain', 'rsa-2048'],
    ]);
    for (const name of ['lab', 'locked', 'plain']) {
      const shown = await place.keys(['public', name]);
      assert.equal(shown.stdout, readFileSync(join(place.store, `${name}.pub`), 'utf8'));
    }
  });

  test('reports problems that it cannot fix, with a remedy', async (context) => {
    const place = keysPlace(context);
    for (const name of ['gone', 'cut']) assert.equal((await place.keys(['create', name])).status, 0);
    unlinkSync(join(place.store, 'gone'));
    const cut = join(place.store, 'cut');
    writeFileSync(cut, readFileSync(cut, 'utf8').slice(0, 150));
    writeFileSync(join(place.store, 'stray'), 'hello', { mode: 0o600 });
    const before = snapshot(place.store);
    const { status, stderr } = await place.keys(['doctor']);
    assert.equal(status, 1);
    assert.equal(stderr.match(/ \(key-store\)$/gm)?.length, 3, stderr);
    assert.match(stderr, /hint: .*keys delete gone/);
    assert.deepEqual(snapshot(place.store), before);
    assert.equal((await place.keys(['delete', 'gone', '--force'])).status, 0);
    assert.doesNotMatch((await place.keys(['doctor'])).stderr, /gone/);
  });

  test('changes neither a store of a later version nor one behind a link', async (context) => {
    const place = keysPlace(context);
    assert.equal((await place.keys(['create', 'lab'])).status, 0);
    const metadata = join(place.store, 'metadata.json');
    writeFileSync(metadata, readFileSync(metadata, 'utf8').replace('"1.0"', '"2.0"'));
    const before = snapshot(place.store);
    const later = await place.keys(['doctor']);
    assert.match(later.stderr, /version "2\.0".*\(key-store\)/);
    assert.deepEqual([later.status, snapshot(place.store)], [1, before]);

    const elsewhere = join(place.directory, 'elsewhere');
    mkdirSync(elsewhere, { mode: 0o755 });
    symlinkSync(elsewhere, join(place.directory, 'link'));
    const linked = await place.keys(['doctor', '--store', join(place.directory, 'link')]);
    assert.match(linked.stderr, /\(unsafe-permissions\)/);
    assert.equal(statSync(elsewhere).mode & 0o777, 0o755);
  });

  test('renames a damaged journal', async (context) => {
    const place = keysPlace(context);
    assert.equal((await place.keys(['create', 'lab'])).status, 0);
    writeFileSync(join(place.store, '.journal'), '{"name": "../x", "entry": null}', { mode: 0o600 });
    assert.match((await place.keys(['list'])).stderr, /journal.*\(key-store\)/);
    assert.equal((await place.keys(['doctor'])).status, 0);
    assert.match((await place.keys(['list'])).stdout, /^lab /m);
  });
});
