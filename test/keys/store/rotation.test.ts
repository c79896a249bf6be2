import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, readFileSync, renameSync, statSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { addAwsName, addInstance, forgetInstance } from '../../../src/keys/store/instances.ts';
import { materialOf } from '../../../src/keys/store/key-material.ts';
import { addKey, listKeys, readPublicKey } from '../../../src/keys/store/key-store.ts';
import { generateKey } from '../../../src/keys/store/key-type.ts';
import { keyForVm, recordUse } from '../../../src/keys/store/key-use.ts';
import { parseMetadata } from '../../../src/keys/store/metadata.ts';
import {
  beginRotation,
  endRotation,
  noteInstance,
  noteRegion,
  switchKeys,
} from '../../../src/keys/store/rotation.ts';
import { ownDirectory, refusal } from '../../platform/directory.ts';
import { makeKey } from '../key-lines.ts';
import { keysPlace, type Place, readDirectory } from './keys-program.ts';

const lab = { profile: 'lab' };

/** A store with the key `lab`, and the lines of it and of one to come. */
async function begun(context: TestContext): Promise<{ store: string; old: string; next: string }> {
  const store = join(ownDirectory(context), 'keys');
  addKey(store, { ...lab, region: 'us-east-1' }, await materialOf(await generateKey('ed25519'), 'lab'));
  for (const vm of ['one', 'two']) addInstance(store, 'lab', vm);
  const next = await materialOf(await generateKey('ed25519'), 'lab');
  const old = readPublicKey(store, 'lab');
  beginRotation(store, 'lab', next, ['us-east-1']);
  return { store, old, next: next.publicKey.trim() };
}

const files = (store: string) => readDirectory(store).filter((name) => !name.startsWith('.'));

describe('a rotation in the store', () => {
  test('gives each VM the key that it lets in, from the first step to the last', async (context) => {
    const { store, old, next } = await begun(context);
    const served = (vm: string) => keyForVm(store, lab, vm)?.publicKey;
    assert.deepEqual([served('one'), served('two'), served('other')], [old, old, old]);
    assert.equal(
      endsWith(() => endRotation(store, 'lab')),
      'key-store',
    );

    // Somebody logs in to one more VM before the switch.
    assert.ok(recordUse(store, 'lab', 'late'));
    switchKeys(store, 'lab', { proven: ['one'], others: ['one', 'two'] });
    assert.deepEqual([served('one'), served('two'), served('late'), served('other')], [next, old, old, next]);
    assert.deepEqual(files(store), ['lab', 'lab.old', 'lab.old.pub', 'lab.pub', 'metadata.json']);
    assert.equal(
      endsWith(() => switchKeys(store, 'lab', { proven: [], others: [] })),
      'key-store',
    );
    assert.equal(
      endsWith(() =>
        beginRotation(store, 'lab', { privateKey: Buffer.from('x'), publicKey: '', type: '' }, []),
      ),
      'key-store',
    );

    for (const vm of ['two', 'late']) noteInstance(store, 'lab', vm, 'both');
    assert.deepEqual([served('two'), served('late')], [next, next]);
    for (const vm of ['one', 'two']) noteInstance(store, 'lab', vm, 'done');
    assert.equal(endRotation(store, 'lab'), false);
    noteRegion(store, 'lab', 'us-east-1');
    // The last one that waits goes, and the old key with it.
    forgetInstance(store, 'lab', 'LATE');
    assert.deepEqual(files(store), ['lab', 'lab.pub', 'metadata.json']);
    const [record] = listKeys(store);
    assert.deepEqual([record?.rotation, record?.instances], [undefined, ['one', 'two']]);
  });

  test('finds a key by the name an instance was launched with, and by nothing else that it is called', async (context) => {
    const { store, old } = await begun(context);
    addAwsName(store, 'lab', 'eu-west-1', 'cws-lab-eu-west-1');
    assert.equal(keyForVm(store, { awsKeyName: 'cws-lab-eu-west-1' }, 'one')?.publicKey, old);
    assert.equal(keyForVm(store, { awsKeyName: 'lab' }, 'one'), undefined);
    assert.equal(keyForVm(store, { profile: 'Lab' }, 'one')?.record.name, 'lab');
    assert.equal(keyForVm(store, { profile: 'none' }, 'one'), undefined);
    const nowhere = join(store, 'nowhere');
    assert.equal(keyForVm(nowhere, lab, 'one'), undefined);
    assert.deepEqual(readDirectory(nowhere), []);
  });

  test('each use is noted with its time, and no more often than once a minute', async (context) => {
    const { store } = await begun(context);
    const metadata = join(store, 'metadata.json');
    assert.ok(recordUse(store, 'lab', 'new'));
    const [record] = listKeys(store);
    assert.deepEqual(record?.instances, ['one', 'two', 'new']);
    assert.match(record.lastUsed['new'] ?? '', /^\d{4}-.*Z$/);
    const written = readFileSync(metadata, 'utf8');
    assert.ok(recordUse(store, 'lab', 'new'));
    assert.equal(readFileSync(metadata, 'utf8'), written);
    writeFileSync(metadata, written.replace(record.lastUsed['new'] ?? '?', '2026-01-01T00:00:00Z'));
    assert.ok(recordUse(store, 'lab', 'new'));
    assert.notEqual(listKeys(store)[0]?.lastUsed['new'], '2026-01-01T00:00:00Z');
    assert.equal(recordUse(store, 'gone', 'new'), false);
    writeFileSync(metadata, '{');
    assert.equal(recordUse(store, 'lab', 'new'), false);
  });

  test('one that metadata.json describes in another way is refused', () => {
    const file = (rotation: unknown) => JSON.stringify({ version: '1.0', keys: { lab: { rotation } } });
    assert.equal(parseMetadata(file(null)).keys[0]?.rotation, undefined);
    const { rotation } = parseMetadata(file({ stage: 'removing', instances: { a: 'old' } })).keys[0] ?? {};
    assert.deepEqual(rotation, { stage: 'removing', startedAt: '', instances: { a: 'old' }, regions: [] });
    for (const wrong of [
      [],
      'adding',
      { stage: 'done' },
      { stage: 'adding', instances: { a: 'new' } },
      { stage: 'adding', instances: [] },
      { stage: 'adding', aws_regions: [1] },
      { stage: 'adding', started_at: 5 },
    ]) {
      assert.throws(
        () => parseMetadata(file(wrong)),
        refusal('key-store', /rotation of lab/),
        JSON.stringify(wrong),
      );
    }
  });
});

test('a journal whose other keys are none is damaged, and changes nothing', async (context) => {
  const { store, old } = await begun(context);
  const metadata = readFileSync(join(store, 'metadata.json'), 'utf8');
  for (const next of [5, [], {}, { private_key: 'AAAA' }, { private_key: 1, public_key: 'x' }]) {
    const journal = JSON.stringify({ name: 'lab', entry: {}, next });
    writeFileSync(join(store, '.journal'), journal, { mode: 0o600 });
    assert.throws(() => listKeys(store), refusal('key-store', /journal .* damaged/), journal);
  }
  unlinkSync(join(store, '.journal'));
  assert.equal(readFileSync(join(store, 'metadata.json'), 'utf8'), metadata);
  assert.equal(keyForVm(store, lab, 'one')?.publicKey, old);
});

describe('mint-ssh keys', () => {
  test('rotate keeps the kind of a key and its passphrase, which is asked once', async (context) => {
    const place = keysPlace(context);
    makeKey(place.directory, 'mine', '-t', 'ecdsa', '-b', '256');
    execFileSync('ssh-keygen', ['-q', '-p', '-N', 'sesame 5', '-f', join(place.directory, 'mine')]);
    const from = ['--key-file', join(place.directory, 'mine')];
    assert.equal((await place.keys(['import', 'lab', ...from], ['sesame 5'])).status, 0);
    const before = readFileSync(join(place.store, 'lab.pub'), 'utf8');
    const wrong = await place.keys(['rotate', 'lab'], ['other']);
    assert.match(wrong.stderr, /\(key-passphrase\)/);
    const { status, stderr } = await place.keys(['rotate', 'lab'], ['sesame 5']);
    assert.equal(status, 0, stderr);
    const open = ['-y', '-P', 'sesame 5', '-f', join(place.store, 'lab')];
    const line = execFileSync('ssh-keygen', open, { encoding: 'utf8' });
    assert.equal(line, readFileSync(join(place.store, 'lab.pub'), 'utf8'));
    assert.ok(line.startsWith('ecdsa-sha2-nistp256 '));
    assert.notEqual(line, before);
    assert.deepEqual(files(place.store), ['lab', 'lab.pub', 'metadata.json']);
    const other = await place.keys(['rotate', 'lab', '--type', 'ed25519'], ['sesame 5']);
    assert.equal(other.status, 0, other.stderr);
    assert.match((await place.keys(['list'])).stdout, / ed25519$/m);
  });

  test('doctor mends what a rotation left, or says what a person has to do', async (context) => {
    const place = keysPlace(context);
    for (const name of ['next', 'lost', 'old', 'gone']) {
      const made = await materialOf(await generateKey('ed25519'), name);
      addKey(place.store, { profile: name, region: undefined }, made);
      addInstance(place.store, name, 'vm');
      beginRotation(place.store, name, await materialOf(await generateKey('ed25519'), name), []);
    }
    for (const name of ['old', 'gone']) switchKeys(place.store, name, { proven: [], others: ['vm'] });
    const at = (name: string) => join(place.store, name);
    forget(place, 'next', 'old');
    unlinkSync(at('lost.next'));
    renameSync(at('gone.old'), join(place.directory, 'backup'));
    chmodSync(at('next.next'), 0o644);
    unlinkSync(at('next.next.pub'));
    const { status, stderr } = await place.keys(['doctor']);
    assert.equal(status, 1, stderr);
    assert.match(stderr, /mended: .*next\.next\\?" was open to others/);
    assert.match(stderr, /mended: metadata\.json did not know of the rotation that .*next\.next/);
    assert.match(stderr, /mended: .*lost\.next.* is no good: there is no rotation any more/);
    assert.match(stderr, /error: .*old\.old.* that metadata\.json does not know \(key-store\)/);
    assert.match(stderr, /error: .*gone\.old.*hint: .*put it back from a backup/s);
    renameSync(join(place.directory, 'backup'), at('gone.old'));
    unlinkSync(at('old.old'));
    unlinkSync(at('old.old.pub'));
    const again = await place.keys(['doctor']);
    assert.equal(again.status, 0, again.stderr);
    assert.match(again.stderr, /hint: the rotation of next is not finished: `mint-ssh keys rotate next`/);
    assert.equal(statSync(at('next.next')).mode & 0o777, 0o600);
    assert.match(readPublicKey(place.store, 'next', 'next'), /^ssh-ed25519 /);
    assert.deepEqual(
      files(place.store).filter((name) => name.startsWith('lost')),
      ['lost', 'lost.pub'],
    );
    // A key that is deleted takes all of its rotation along.
    for (const name of ['next', 'gone'])
      assert.equal((await place.keys(['delete', name, '--force'])).status, 0);
    assert.deepEqual(files(place.store), ['lost', 'lost.pub', 'metadata.json', 'old', 'old.pub']);
  });
});

/** As a program does that keeps no fields of others. */
function forget({ store }: Place, ...names: string[]): void {
  const path = join(store, 'metadata.json');
  const file = JSON.parse(readFileSync(path, 'utf8')) as { keys: Record<string, { rotation?: unknown }> };
  for (const name of names) delete file.keys[name]?.rotation;
  writeFileSync(path, JSON.stringify(file));
}

function endsWith(action: () => unknown): string {
  try {
    action();
    return 'nothing';
  } catch (error) {
    return (error as { code: string }).code;
  }
}
