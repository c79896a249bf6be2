import assert from 'node:assert/strict';
import { cpSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { parseKeyFile } from '../../../src/keys/store/key-file.ts';
import { listKeys, readPrivateKey, readPublicKey } from '../../../src/keys/store/key-store.ts';
import { publicBlob, publicLine } from '../../../src/keys/store/key-type.ts';
import { openKeyFile } from '../../../src/keys/store/private-key.ts';
import { type Result, startChild } from '../../openssh/child.ts';
import { makeKey } from '../key-lines.ts';
import { keysPlace, mainProgram, type Place, readDirectory } from './keys-program.ts';

const killer = join(import.meta.dirname, 'programs', 'copied-at-step.ts');

function killedAt(place: Place, words: readonly string[], step: number): Promise<Result> {
  const program = ['--import', killer, mainProgram, 'keys', ...words];
  return startChild(process.execPath, program, { ...place.env, KILL_AT: String(step) }).done;
}

/** The names of the keys, after it has been shown that each is one whole key and that nothing else is there. */
async function wholeKeys(place: Place): Promise<string[]> {
  const names = listKeys(place.store).map(({ name }) => name);
  for (const name of names) {
    const key = await openKeyFile(parseKeyFile(readPrivateKey(place.store, name)), undefined);
    assert.equal(readPublicKey(place.store, name), publicLine(publicBlob(key), name).trim());
  }
  const files = names.flatMap((name) => [name, `${name}.pub`]);
  const here = readDirectory(place.store).filter((file) => file !== 'metadata.json');
  assert.deepEqual(here, ['.lock', ...files].sort());
  return names;
}

/** Kills the command before its first write, its second, … until it ends by itself. */
async function killAtEachWrite(
  place: Place,
  words: readonly string[],
  begin: () => void,
  check: () => Promise<void>,
): Promise<void> {
  for (let step = 1; ; step += 1) {
    begin();
    const ended = await killedAt(place, words, step);
    if (ended.signal !== 'SIGKILL') {
      assert.equal(ended.status, 0, ended.stderr);
      assert.ok(step > 10, `${words[0]} made only ${step} writes`);
      return;
    }
    await check();
  }
}

describe('mint-ssh keys, killed at every write', { timeout: 300_000 }, () => {
  for (const word of ['create', 'import'] as const) {
    test(`of ${word} leaves no key or the whole one, and nothing besides`, async (context) => {
      const place = keysPlace(context);
      assert.equal((await place.keys(['create', 'first'])).status, 0);
      makeKey(place.directory, 'mine', '-t', 'ed25519');
      const kept = join(place.directory, 'kept');
      cpSync(place.store, kept, { recursive: true });
      const outcomes = new Set<string>();
      const how = word === 'import' ? ['--key-file', join(place.directory, 'mine')] : [];
      const begin = () => restore(place, kept);
      await killAtEachWrite(place, [word, 'new', ...how], begin, async () => {
        outcomes.add((await wholeKeys(place)).join(' '));
      });
      assert.deepEqual([...outcomes], ['first', 'first new']);
    });
  }

  test('of delete leaves the key or no trace of it', async (context) => {
    const place = keysPlace(context);
    for (const name of ['first', 'old']) assert.equal((await place.keys(['create', name])).status, 0);
    const kept = join(place.directory, 'kept');
    cpSync(place.store, kept, { recursive: true });
    const outcomes = new Set<string>();
    const begin = () => restore(place, kept);
    await killAtEachWrite(place, ['delete', 'old', '--force'], begin, async () => {
      outcomes.add((await wholeKeys(place)).join(' '));
    });
    assert.deepEqual([...outcomes], ['first old', 'first']);
  });

  test('of the command that finishes what another one began leaves it to the next', async (context) => {
    const place = keysPlace(context);
    const kept = join(place.directory, 'kept');
    for (let step = 1; ; step += 1) {
      rmSync(place.store, { recursive: true, force: true });
      const ended = await killedAt(place, ['create', 'new'], step);
      assert.equal(ended.signal, 'SIGKILL', 'the journal was seen');
      if (readDirectory(place.store).includes('.journal')) break;
    }
    cpSync(place.store, kept, { recursive: true });
    const secret = JSON.parse(readFileSync(join(kept, '.journal'), 'utf8')) as { private_key: string };
    const begin = () => restore(place, kept);
    await killAtEachWrite(place, ['list'], begin, async () => {
      assert.deepEqual(await wholeKeys(place), ['new']);
      assert.equal(readPrivateKey(place.store, 'new').toString('base64'), secret.private_key);
    });
  });
});

function restore(place: Place, from: string): void {
  rmSync(place.store, { recursive: true, force: true });
  mkdirSync(place.store, { recursive: true, mode: 0o700 });
  cpSync(from, place.store, { recursive: true });
}
