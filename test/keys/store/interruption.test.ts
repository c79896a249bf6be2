import assert from 'node:assert/strict';
import { cpSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { parseKeyFile } from '../../../src/keys/store/key-file.ts';
import { listKeys } from '../../../src/keys/store/key-store.ts';
import { publicBlob, publicLine } from '../../../src/keys/store/key-type.ts';
import { openKeyFile } from '../../../src/keys/store/private-key.ts';
import { readPrivateKey, readPublicKey } from '../../../src/keys/store/store-files.ts';
import { type Result, startChild } from '../../openssh/child.ts';
import { makeKey } from '../key-lines.ts';
import { keysPlace, mainProgram, type Place, readDirectory } from './keys-program.ts';

const killer = join(import.meta.dirname, 'programs', 'copied-at-step.ts');

function killedAt(place: Place, words: readonly string[], step: number): Promise<Result> {
  const program = ['--import', killer, mainProgram, 'keys', ...words];
  return startChild(process.execPath, program, { ...place.env, KILL_AT: String(step) }).done;
}

/** The names of the complete keys; fails if a key has only one of its files. */
async function wholeKeys(place: Place): Promise<string[]> {
  const names = listKeys(place.store).map(({ name }) => name);
  for (const name of names) {
    const key = await openKeyFile(parseKeyFile(readPrivateKey(place.store, name)), undefined);
    assert.equal(readPublicKey(place.store, name), publicLine(publicBlob(key), name).trim());
  }
  return names;
}

/** The files of the store but for its lock and its own directory. */
function filesOf({ store }: Place): string[] {
  return readDirectory(store).filter((file) => !file.startsWith('.') && file !== 'metadata.json');
}

function expectedFiles(names: readonly string[]): string[] {
  return names.flatMap((name) => [name, `${name}.pub`]).sort();
}

/** Kills the command before its first write, its second, … until it completes. */
async function killAtEachWrite(
  place: Place,
  words: readonly string[],
  begin: () => void,
  check: () => Promise<void>,
  leastWrites = 10,
): Promise<void> {
  for (let step = 1; ; step += 1) {
    begin();
    const ended = await killedAt(place, words, step);
    if (ended.signal !== 'SIGKILL') {
      assert.equal(ended.status, 0, ended.stderr);
      assert.ok(step > leastWrites, `${words[0]} made only ${step} writes`);
      return;
    }
    await check();
  }
}

describe('mint-ssh keys, killed at every write', { timeout: 300_000 }, () => {
  for (const word of ['create', 'import'] as const) {
    test(`of ${word} leaves no key or a complete one, and doctor completes it`, async (context) => {
      const place = keysPlace(context);
      assert.equal((await place.keys(['create', 'first'])).status, 0);
      makeKey(place.directory, 'mine', '-t', 'ed25519');
      const kept = join(place.directory, 'kept');
      cpSync(place.store, kept, { recursive: true });
      const outcomes = new Set<string>();
      const how = word === 'import' ? ['--key-file', join(place.directory, 'mine')] : [];
      const begin = () => restore(place, kept);
      await killAtEachWrite(place, [word, 'new', ...how], begin, async () => {
        const before = await wholeKeys(place);
        outcomes.add(before.join(' '));
        const files = filesOf(place);
        if (files.length === expectedFiles(before).length) return;
        assert.equal((await place.keys(['doctor'])).status, 0);
        const after = await wholeKeys(place);
        assert.deepEqual([after, filesOf(place)], [['first', 'new'], expectedFiles(after)]);
      });
      assert.deepEqual([...outcomes], ['first', 'first new']);
    });
  }

  test('of delete leaves the key, or an entry that can be deleted again, or no trace of it', async (context) => {
    const place = keysPlace(context);
    for (const name of ['first', 'old']) assert.equal((await place.keys(['create', name])).status, 0);
    const kept = join(place.directory, 'kept');
    cpSync(place.store, kept, { recursive: true });
    const begin = () => restore(place, kept);
    await killAtEachWrite(
      place,
      ['delete', 'old', '--force'],
      begin,
      async () => {
        const names = listKeys(place.store).map(({ name }) => name);
        if (!names.includes('old')) return assert.deepEqual(filesOf(place), expectedFiles(['first']));
        assert.equal((await place.keys(['delete', 'old', '--force'])).status, 0);
        assert.deepEqual(filesOf(place), expectedFiles(['first']));
      },
      4,
    );
  });
});

function restore(place: Place, from: string): void {
  rmSync(place.store, { recursive: true, force: true });
  mkdirSync(place.store, { recursive: true, mode: 0o700 });
  cpSync(from, place.store, { recursive: true });
}
