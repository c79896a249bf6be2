import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, readFileSync, renameSync, statSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { materialOf } from '../../../src/keys/store/key-material.ts';
import { addKey, listKeys, withStore } from '../../../src/keys/store/key-store.ts';
import { blobOfLine, generateKey } from '../../../src/keys/store/key-type.ts';
import { keyForMachine, recordRefusal, recordUse } from '../../../src/keys/store/key-use.ts';
import { type Machine, parseState } from '../../../src/keys/store/own-state.ts';
import {
  addEc2Name,
  addMachines,
  beginRotation,
  endRotation,
  forgetMachine,
  isSameMachine,
  needsOldKey,
  noteMachine,
  noteRegions,
  switchKeys,
} from '../../../src/keys/store/rotation.ts';
import { readPublicKey } from '../../../src/keys/store/store-files.ts';
import { parseHostKey } from '../../../src/ssh/hostkey.ts';
import { ownDirectory, refusal } from '../../platform/directory.ts';
import { fc } from '../../property.ts';
import { makeKey } from '../key-lines.ts';
import { keysPlace, type Place, readDirectory } from './keys-program.ts';

const lab = { profile: 'lab' };

const to = (name: string, instance?: string, region?: string) => ({
  name,
  instance,
  region,
  user: undefined,
});
const fingerprintOf = (line: string) => parseHostKey(blobOfLine(line) ?? Buffer.alloc(0)).fingerprint;
const nothingLeft = { regions: [], unasked: [] };

/** A store with the key `lab` on the machines `one` and `two`, and the lines of it and of one to come. */
async function begun(
  context: TestContext,
): Promise<{ store: string; old: string; next: string; fingerprint: string }> {
  const store = join(ownDirectory(context), 'keys');
  addKey(store, { ...lab, region: 'us-east-1' }, await materialOf(await generateKey('ed25519'), 'lab'));
  addMachines(store, 'lab', [to('one'), to('two')]);
  const next = await materialOf(await generateKey('ed25519'), 'lab');
  const old = readPublicKey(store, 'lab');
  beginRotation(store, 'lab', next);
  const line = next.publicKey.trim();
  return { store, old, next: line, fingerprint: fingerprintOf(line) };
}

const files = (store: string) => readDirectory(store).filter((name) => !name.startsWith('.'));
const otherKeys = (store: string) =>
  readDirectory(join(store, '.mint-ssh')).filter((file) => /\.(?:next|old)/.test(file));

describe('a rotation in the store', () => {
  test('gives each machine the key that it accepts, from the first step to the last', async (context) => {
    const { store, old, next, fingerprint } = await begun(context);
    const served = (name: string) => keyForMachine(store, lab, to(name))?.publicKey;
    assert.deepEqual([served('one'), served('two'), served('other')], [old, old, old]);
    assert.deepEqual(endRotation(store, 'lab'), []);
    assert.deepEqual(otherKeys(store), ['lab.next', 'lab.next.pub']);

    // There is one more machine before the switch.
    assert.ok(recordUse(store, 'lab', to('late'), fingerprintOf(old)));
    switchKeys(store, 'lab', {
      proven: [to('one')],
      left: { regions: ['us-east-1'], unasked: [] },
      fingerprint,
    });
    assert.deepEqual([served('one'), served('two'), served('late'), served('other')], [next, old, old, next]);
    assert.deepEqual(
      [files(store), otherKeys(store)],
      [
        ['lab', 'lab.pub', 'metadata.json'],
        ['lab.old', 'lab.old.pub'],
      ],
    );
    const again = { proven: [], left: nothingLeft, fingerprint };
    assert.throws(() => switchKeys(store, 'lab', again), refusal('key-store'));
    const made = await materialOf(await generateKey('ed25519'), 'lab');
    assert.throws(() => beginRotation(store, 'lab', made), refusal('key-store'));

    for (const name of ['two', 'late']) noteMachine(store, 'lab', to(name), 'both', fingerprint);
    assert.deepEqual([served('two'), served('late')], [next, next]);
    for (const name of ['one', 'two']) noteMachine(store, 'lab', to(name), 'done', fingerprint);
    const reasons = ['late still accepts the old key', 'EC2 still has the old public key in us-east-1'];
    assert.deepEqual(endRotation(store, 'lab'), reasons);
    assert.deepEqual(otherKeys(store), ['lab.old', 'lab.old.pub'], 'nothing is removed that is still needed');
    noteRegions(store, 'lab', nothingLeft);
    forgetMachine(store, 'lab', to('LATE'));
    assert.deepEqual(endRotation(store, 'lab'), []);
    assert.deepEqual(otherKeys(store), []);
    const [record] = listKeys(store);
    assert.deepEqual(
      [record?.rotation, record?.machines.map(({ name }) => name)],
      [undefined, ['one', 'two']],
    );
    assert.deepEqual(record?.instances, ['one', 'two'], 'for other programs');
  });

  test('keeps the old key if no login has proved the new one, unless it is forced', async (context) => {
    const { store, fingerprint } = await begun(context);
    for (const name of ['one', 'two']) forgetMachine(store, 'lab', to(name));
    switchKeys(store, 'lab', { proven: [], left: nothingLeft, fingerprint });
    assert.deepEqual(endRotation(store, 'lab'), ['no instance is known that accepts the new key']);
    assert.deepEqual(otherKeys(store), ['lab.old', 'lab.old.pub']);
    assert.deepEqual(endRotation(store, 'lab', true), []);
    assert.deepEqual(otherKeys(store), []);
  });

  test('offers both keys from its first step to its last, the likelier one first', async (context) => {
    const { store, old, next, fingerprint } = await begun(context);
    const offered = (name: string) => {
      const served = keyForMachine(store, lab, to(name));
      return [served?.publicKey, served?.other?.publicKey];
    };
    assert.deepEqual([offered('one'), offered('unknown')], Array(2).fill([old, next]));
    switchKeys(store, 'lab', { proven: [to('one')], left: nothingLeft, fingerprint });
    assert.deepEqual(
      [offered('one'), offered('two'), offered('unknown')],
      [
        [next, old],
        [old, next],
        [next, old],
      ],
    );
    for (const name of ['one', 'two']) noteMachine(store, 'lab', to(name), 'done', fingerprint);
    assert.deepEqual(endRotation(store, 'lab'), []);
    assert.deepEqual(offered('one'), [next, undefined]);
  });

  test('learns what a machine accepts from the key that has logged in, and nothing from a refusal', async (context) => {
    const { store, old, fingerprint } = await begun(context);
    const oldFingerprint = fingerprintOf(old);
    switchKeys(store, 'lab', { proven: [to('one')], left: nothingLeft, fingerprint });
    const machine = (name: string) => listKeys(store)[0]?.machines.find((each) => each.name === name);
    const states = () => ['one', 'two'].map((name) => [machine(name)?.accepts, machine(name)?.proved]);
    // Both began before the switch.
    recordUse(store, 'lab', to('one'), oldFingerprint);
    recordUse(store, 'lab', to('two'), oldFingerprint);
    assert.deepEqual(states(), [
      ['both', fingerprint],
      ['old', oldFingerprint],
    ]);
    for (const name of ['one', 'two']) {
      recordRefusal(store, 'lab', to(name), fingerprint);
      recordRefusal(store, 'lab', to(name), oldFingerprint);
    }
    assert.deepEqual(states(), [
      ['both', undefined],
      ['old', undefined],
    ]);
    // The key that was offered second logged in.
    recordUse(store, 'lab', to('one'), oldFingerprint, true);
    recordUse(store, 'lab', to('two'), fingerprint, true);
    assert.deepEqual(states(), [
      ['old', oldFingerprint],
      ['both', fingerprint],
    ]);
  });

  test('also requires a proof from a machine that is first seen during the rotation', async (context) => {
    const { store, old, fingerprint } = await begun(context);
    switchKeys(store, 'lab', { proven: [to('one')], left: nothingLeft, fingerprint });
    for (const name of ['one', 'two']) noteMachine(store, 'lab', to(name), 'done', fingerprint);
    addMachines(store, 'lab', [to('found')]);
    recordUse(store, 'lab', to('new'), fingerprint);
    recordUse(store, 'lab', to('older'), fingerprintOf(old));
    assert.deepEqual([...endRotation(store, 'lab')].sort(), [
      'found accepts only the old key',
      'new still accepts the old key',
      'older accepts only the old key',
    ]);
  });

  test('counts an instance that another program has entered by name and by ID as one machine', async (context) => {
    const { store, old, fingerprint } = await begun(context);
    const instance = 'i-0123456789abcdef0';
    addMachines(store, 'lab', [to('One', instance)]);
    const { machines } = listKeys(store)[0] ?? {};
    assert.deepEqual(
      machines?.map((machine) => [machine.name, machine.instance]),
      [
        ['One', instance],
        ['two', undefined],
      ],
    );
    switchKeys(store, 'lab', { proven: [to('one', instance), to('two')], left: nothingLeft, fingerprint });
    for (const id of [to('one', instance), to('two')]) noteMachine(store, 'lab', id, 'done', fingerprint);
    assert.deepEqual(endRotation(store, 'lab'), []);
    assert.notEqual(readPublicKey(store, 'lab'), old);
  });

  test('assumes the old key for an unknown instance only if EC2 still has that key', async (context) => {
    const { store, old, next, fingerprint } = await begun(context);
    const left = { regions: ['us-east-1'], unasked: ['eu-west-1'] };
    addEc2Name(store, 'lab', 'eu-west-1', 'cws-lab-eu-west-1');
    addEc2Name(store, 'lab', 'ap-south-1', 'cws-lab-ap-south-1');
    switchKeys(store, 'lab', { proven: [to('one')], left, fingerprint });
    const served = (region: string) =>
      keyForMachine(store, { awsKeyName: `cws-lab-${region}` }, to('x', 'i-0123456789abcdef0', region))
        ?.publicKey;
    assert.deepEqual(['us-east-1', 'eu-west-1', 'ap-south-1'].map(served), [old, old, next]);
  });

  test('identifies a machine by instance ID and user; a name counts only if the ID is unknown', () => {
    const [first, second] = ['i-0123456789abcdef0', 'i-0fedcba9876543210'];
    assert.equal(isSameMachine(to('dev', first), to('dev', second)), false);
    assert.equal(isSameMachine(to('dev', first), to('renamed', first)), true);
    assert.equal(isSameMachine(to('dev', first), to('DEV')), true);
    const [ubuntu, admin] = ['ubuntu', 'admin'].map((user) => ({ ...to('dev', first), user }));
    assert.equal(ubuntu && admin && isSameMachine(ubuntu, admin), false);
    assert.equal(ubuntu && isSameMachine(ubuntu, to('dev', first)), true);
  });

  test('finds a key by the name an instance was launched with, and by nothing else that it is called', async (context) => {
    const { store, old } = await begun(context);
    addEc2Name(store, 'lab', 'eu-west-1', 'cws-lab-eu-west-1');
    assert.equal(keyForMachine(store, { awsKeyName: 'cws-lab-eu-west-1' }, to('one'))?.publicKey, old);
    assert.equal(keyForMachine(store, { awsKeyName: 'lab' }, to('one')), undefined);
    assert.equal(keyForMachine(store, { profile: 'Lab' }, to('one'))?.record.name, 'lab');
    assert.equal(keyForMachine(store, { profile: 'none' }, to('one')), undefined);
    const nowhere = join(store, 'nowhere');
    assert.equal(keyForMachine(nowhere, lab, to('one')), undefined);
    assert.deepEqual(readDirectory(nowhere), []);
  });

  test('records each use with its time, at most once a minute', async (context) => {
    const { store, old } = await begun(context);
    const state = join(store, '.mint-ssh/state.json');
    const use = (name = 'lab') =>
      recordUse(store, name, to('new', 'i-0123456789abcdef0'), fingerprintOf(old));
    assert.ok(use());
    const machine = (): Machine | undefined =>
      listKeys(store)[0]?.machines.find(({ name }) => name === 'new');
    assert.equal(machine()?.instance, 'i-0123456789abcdef0');
    assert.match(machine()?.lastUsed ?? '', /^\d{4}-.*Z$/);
    const written = readFileSync(state, 'utf8');
    assert.ok(use());
    assert.equal(readFileSync(state, 'utf8'), written);
    writeFileSync(state, written.replace(machine()?.lastUsed ?? '?', '2026-01-01T00:00:00Z'));
    assert.ok(use());
    assert.notEqual(machine()?.lastUsed, '2026-01-01T00:00:00Z');
    assert.equal(use('gone'), undefined);
    writeFileSync(state, '{');
    assert.equal(use(), undefined);
  });

  test('refuses an invalid state file with any content', () => {
    const file = (key: unknown) => JSON.stringify({ version: 1, keys: { lab: key } });
    const whole = { machines: [], ec2_names: [], rotation: null };
    assert.deepEqual(parseState(file(whole))['lab'], { machines: [], ec2Names: [], rotation: undefined });
    for (const wrong of [
      [],
      {},
      { ...whole, machines: {} },
      { ...whole, machines: [{}] },
      { ...whole, machines: [{ name: 'a', accepts: 'new' }] },
      { ...whole, machines: [{ name: 'a', instance: '../x' }] },
      { ...whole, ec2_names: [{ region: 1, name: 'x' }] },
      { ...whole, rotation: 'open' },
      { ...whole, rotation: { started_at: '', aws_regions: [1], unasked_regions: [] } },
    ]) {
      assert.throws(() => parseState(file(wrong)), refusal('key-store', /damaged/), JSON.stringify(wrong));
    }
    assert.throws(() => parseState('{"version":2,"keys":{}}'), refusal('key-store', /later/));
    fc.assert(
      fc.property(fc.json(), (text) => {
        try {
          parseState(text);
        } catch (error) {
          assert.ok(refusal('key-store')(error));
        }
      }),
    );
  });

  test('the rule gives the reason to keep the old key, in every case', () => {
    const machine = (accepts: Machine['accepts']): Machine => {
      return { ...to('a'), lastUsed: undefined, proved: undefined, accepts };
    };
    const rotation = { startedAt: '', regions: [], unasked: [], isUnproved: false };
    assert.deepEqual(needsOldKey({ machines: [machine('old')], rotation: undefined }), []);
    assert.deepEqual(needsOldKey({ machines: [machine(undefined)], rotation }), []);
    for (const needed of [
      { machines: [machine('old')], rotation },
      { machines: [machine('both')], rotation },
      { machines: [], rotation: { ...rotation, regions: ['us-east-1'] } },
      { machines: [], rotation: { ...rotation, unasked: ['us-east-1'] } },
      { machines: [], rotation: { ...rotation, isUnproved: true } },
    ]) {
      assert.equal(needsOldKey(needed).length, 1);
    }
  });
});

test('converts the store of an earlier version: its fields, its open rotation, its journal', async (context) => {
  const store = join(ownDirectory(context), 'keys');
  addKey(store, { ...lab, region: undefined }, await materialOf(await generateKey('ed25519'), 'lab'));
  const old = await materialOf(await generateKey('ed25519'), 'lab');
  writeFileSync(join(store, 'lab.old'), old.privateKey, { mode: 0o600 });
  writeFileSync(join(store, 'lab.old.pub'), old.publicKey);
  const metadata = join(store, 'metadata.json');
  const written = JSON.parse(readFileSync(metadata, 'utf8')) as { keys: Record<string, object> };
  const rotation = {
    stage: 'removing',
    started_at: '2026-01-01T00:00:00Z',
    instances: { a: 'old' },
    aws_regions: [],
  };
  written.keys['lab'] = {
    ...written.keys['lab'],
    instances: ['a', 'i-0123456789abcdef0'],
    last_used: { a: '2026-01-02T00:00:00Z' },
    aws_key_names: { 'eu-west-1': 'cws-lab-eu-west-1' },
    rotation,
  };
  writeFileSync(metadata, JSON.stringify(written));
  const entry = { profile: 'cut', region: '', created_at: '', type: 'ed25519', instances: [] };
  const cut = await materialOf(await generateKey('ed25519'), 'cut');
  const journal = {
    name: 'cut',
    entry,
    private_key: cut.privateKey.toString('base64'),
    public_key: cut.publicKey,
  };
  writeFileSync(join(store, '.journal'), JSON.stringify(journal), { mode: 0o600 });

  const [first, second] = listKeys(store);
  assert.deepEqual([first?.name, second?.name], ['lab', 'cut']);
  assert.equal(`${readPublicKey(store, 'cut')}\n`, cut.publicKey);
  assert.deepEqual(
    first?.machines.map(({ name, instance, lastUsed, accepts }) => [name, instance, lastUsed, accepts]),
    [
      ['a', undefined, '2026-01-02T00:00:00Z', 'old'],
      ['i-0123456789abcdef0', 'i-0123456789abcdef0', undefined, undefined],
    ],
  );
  assert.deepEqual(first?.ec2Names, [{ region: 'eu-west-1', name: 'cws-lab-eu-west-1' }]);
  assert.equal(`${keyForMachine(store, lab, to('a'))?.publicKey}\n`, old.publicKey);
  assert.doesNotMatch(readFileSync(metadata, 'utf8'), /rotation|last_used|aws_key_names/);
  assert.deepEqual(files(store), ['cut', 'cut.pub', 'lab', 'lab.pub', 'metadata.json']);
});

test('a damaged journal of an earlier version changes nothing, and doctor renames it', async (context) => {
  const { store, old } = await begun(context);
  const metadata = readFileSync(join(store, 'metadata.json'), 'utf8');
  for (const text of [
    '{',
    '[]',
    '{"name": "../x", "entry": null}',
    '{"name": "lab", "entry": {}, "next": {"private_key": 1}}',
  ]) {
    writeFileSync(join(store, '.journal'), text, { mode: 0o600 });
    assert.throws(() => listKeys(store), refusal('key-store', /journal .* damaged/), text);
  }
  unlinkSync(join(store, '.journal'));
  assert.equal(readFileSync(join(store, 'metadata.json'), 'utf8'), metadata);
  assert.equal(keyForMachine(store, lab, to('one'))?.publicKey, old);
});

test('the next command finishes a switch that was killed right after its commit', async (context) => {
  const { store, next, fingerprint } = await begun(context);
  const kept = ['lab', 'lab.pub'].map((file) => readFileSync(join(store, file)));
  const newPair = ['lab.next', 'lab.next.pub'].map((file) => readFileSync(join(store, '.mint-ssh', file)));
  switchKeys(store, 'lab', { proven: [to('one'), to('two')], left: nothingLeft, fingerprint });
  // As it was between the write of state.json and the first file behind it.
  for (const [at, file] of ['lab', 'lab.pub'].entries()) writeFileSync(join(store, file), kept[at] ?? '');
  for (const [at, file] of ['lab.next', 'lab.next.pub'].entries())
    writeFileSync(join(store, '.mint-ssh', file), newPair[at] ?? '', { mode: 0o600 });
  withStore(store, () => {});
  assert.equal(readPublicKey(store, 'lab'), next);
  assert.deepEqual(otherKeys(store), ['lab.old', 'lab.old.pub']);
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
    const kept = await place.keys(['rotate', 'lab'], ['sesame 5']);
    assert.equal(kept.status, 1, kept.stderr);
    assert.match(kept.stderr, /no login has proved it/);
    assert.match(kept.stderr, /the old key is kept: no instance is known that accepts the new key/);
    assert.doesNotMatch(kept.stderr, /gone/);
    const { status, stderr } = await place.keys(['rotate', 'lab', '--force'], ['sesame 5']);
    assert.equal(status, 0, stderr);
    const open = ['-y', '-P', 'sesame 5', '-f', join(place.store, 'lab')];
    const line = execFileSync('ssh-keygen', open, { encoding: 'utf8' });
    assert.equal(line, readFileSync(join(place.store, 'lab.pub'), 'utf8'));
    assert.ok(line.startsWith('ecdsa-sha2-nistp256 '));
    assert.notEqual(line, before);
    assert.deepEqual(files(place.store), ['lab', 'lab.pub', 'metadata.json']);
    const other = await place.keys(['rotate', 'lab', '--type', 'ed25519', '--force'], ['sesame 5']);
    assert.equal(other.status, 0, other.stderr);
    assert.match((await place.keys(['list'])).stdout, / ed25519$/m);
  });

  test('doctor repairs what a rotation left, or says what the user has to do', async (context) => {
    const place = keysPlace(context);
    for (const name of ['next', 'lost', 'old', 'gone']) {
      const made = await materialOf(await generateKey('ed25519'), name);
      addKey(place.store, { profile: name, region: undefined }, made);
      addMachines(place.store, name, [to('vm')]);
      beginRotation(place.store, name, await materialOf(await generateKey('ed25519'), name));
    }
    for (const name of ['old', 'gone']) {
      switchKeys(place.store, name, { proven: [], left: nothingLeft, fingerprint: '' });
    }
    const at = (name: string) => join(place.store, '.mint-ssh', name);
    forgetRotation(place, 'old');
    writeFileSync(at('lost.next'), 'cut off', { mode: 0o600 });
    renameSync(at('gone.old'), join(place.directory, 'backup'));
    chmodSync(at('next.next'), 0o644);
    unlinkSync(at('next.next.pub'));
    const { status, stderr } = await place.keys(['doctor']);
    assert.equal(status, 1, stderr);
    assert.match(stderr, /repaired: .*next\.next\\?" was readable by other users/);
    assert.match(stderr, /repaired: .*next\.next\.pub\\?" was missing/);
    assert.match(
      stderr,
      /repaired: the new key of a rotation of lost was damaged, and was removed: the rotation has not begun/,
    );
    assert.match(stderr, /error: .*old\.old.* the old key of an unknown rotation \(key-store\)/);
    assert.match(stderr, /error: .*gone\.old.*hint: .*put it back from a backup/s);
    renameSync(join(place.directory, 'backup'), at('gone.old'));
    unlinkSync(at('old.old'));
    unlinkSync(at('old.old.pub'));
    const again = await place.keys(['doctor']);
    assert.equal(again.status, 0, again.stderr);
    assert.match(again.stderr, /hint: the rotation of next is not finished: `mint-ssh keys rotate next`/);
    assert.equal(statSync(at('next.next')).mode & 0o777, 0o600);
    assert.match(readPublicKey(place.store, 'next', 'next'), /^ssh-ed25519 /);
    // A key that is deleted takes the other key of its rotation along.
    for (const name of ['next', 'gone'])
      assert.equal((await place.keys(['delete', name, '--force'])).status, 0);
    assert.deepEqual(files(place.store), ['lost', 'lost.pub', 'metadata.json', 'old', 'old.pub']);
    assert.deepEqual(otherKeys(place.store), []);
  });
});

/** As where state.json was lost, and written again since. */
function forgetRotation({ store }: Place, name: string): void {
  const path = join(store, '.mint-ssh/state.json');
  const file = JSON.parse(readFileSync(path, 'utf8')) as { keys: Record<string, { rotation?: unknown }> };
  const key = file.keys[name];
  if (key !== undefined) key.rotation = null;
  writeFileSync(path, JSON.stringify(file));
}
