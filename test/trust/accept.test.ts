import assert from 'node:assert/strict';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import type { MintError } from '../../src/errors.ts';
import { TrustStore } from '../../src/trust/store.ts';
import { derivedOf, ecdsaKey, ed25519Key, filesOf, keysOfRecord, lineOf, temporaryPaths } from './place.ts';

const [old, next] = [ed25519Key(), ed25519Key()];

function withLine(paths: ReturnType<typeof temporaryPaths>, text: string): TrustStore {
  mkdirSync(paths.dir, { recursive: true, mode: 0o700 });
  writeFileSync(paths.knownHosts, text, { mode: 0o600 });
  return new TrustStore(paths);
}

describe('accepting a key', () => {
  test('that was refused makes it trusted in all three files', async (context) => {
    const paths = temporaryPaths(context);
    const store = withLine(paths, `# x\n${lineOf('dev', old)}y=1\n`);
    await store.check({ vm: 'dev', key: old, instance: 'i-1' });
    await store.check({ vm: 'dev', key: next, instance: 'i-2', region: 'eu-west-1' });
    const seen = store.show('dev')?.refused;
    const pin = store.accept('dev', next.fingerprint);
    assert.deepEqual(
      [pin.evidence, pin.instance, pin.region, pin.firstSeen],
      ['accepted', 'i-2', 'eu-west-1', seen?.seenAt],
    );
    const { line, record, derived } = filesOf(paths, 'dev');
    assert.equal(line, `# x\n${lineOf('dev', next)}y=1\n`);
    assert.equal(derived, derivedOf('dev', next));
    assert.equal(keysOfRecord(record)[0]?.['key'], next.blob.toString('base64'));
    assert.equal(store.show('dev')?.refused, undefined);
    assert.equal((await store.check({ vm: 'dev', key: next, instance: 'i-2' })).outcome, 'pinned');
    assert.equal((await store.check({ vm: 'dev', key: old, instance: 'i-1' })).outcome, 'changed');
  });

  test('of another type works after it was refused for its type', async (context) => {
    const paths = temporaryPaths(context);
    const [store, key] = [withLine(paths, lineOf('dev', old)), ecdsaKey()];
    await store.check({ vm: 'dev', key: old });
    assert.equal((await store.check({ vm: 'dev', key })).outcome, 'type-not-pinned');
    store.accept('dev', key.fingerprint);
    assert.equal((await store.check({ vm: 'dev', key })).outcome, 'pinned');
    assert.equal((await store.check({ vm: 'dev', key: old })).outcome, 'pinned');
    assert.equal(filesOf(paths, 'dev').line, lineOf('dev', old));
  });

  test('that was never seen pins its fingerprint, and adds the key when it is presented', async (context) => {
    const paths = temporaryPaths(context);
    const store = withLine(paths, lineOf('dev', old));
    await store.check({ vm: 'dev', key: old });
    assert.equal(store.accept('dev', next.fingerprint).key, undefined);
    assert.equal(filesOf(paths, 'dev').derived, undefined);
    assert.equal((await store.check({ vm: 'dev', key: old })).outcome, 'changed');
    assert.equal((await store.check({ vm: 'dev', key: ecdsaKey() })).outcome, 'type-not-pinned');
    assert.equal((await store.check({ vm: 'dev', key: next })).outcome, 'pinned');
    const { record, derived } = filesOf(paths, 'dev');
    assert.equal(derived, derivedOf('dev', next));
    assert.deepEqual(
      keysOfRecord(record).map((one) => [one['key'], one['evidence']]),
      [[next.blob.toString('base64'), 'accepted']],
    );
  });

  test('works before the VM was ever seen, and replaces a bad line', async (context) => {
    const paths = temporaryPaths(context);
    const store = withLine(paths, 'dev=\n');
    await assert.rejects(store.check({ vm: 'dev', key: next }));
    store.accept('dev', next.fingerprint);
    store.accept('build', old.fingerprint);
    assert.equal(filesOf(paths, 'dev').line, lineOf('dev', next) + lineOf('build', old));
    assert.equal((await store.check({ vm: 'dev', key: next })).outcome, 'pinned');
    assert.equal((await store.check({ vm: 'build', key: next })).outcome, 'changed');
  });

  test('refuses an incomplete fingerprint', (context) => {
    const store = new TrustStore(temporaryPaths(context));
    for (const text of [
      '',
      'yes',
      'SHA256:',
      `${next.fingerprint}=`,
      next.fingerprint.slice(7),
      `\n${next.fingerprint}`,
    ]) {
      assert.throws(
        () => store.accept('dev', text),
        (error: MintError) => error.exitStatus === 2,
        text,
      );
    }
  });
});

describe('forgetting a VM', () => {
  test('removes its line, record and derived file, and nothing of another', async (context) => {
    const paths = temporaryPaths(context);
    const store = withLine(paths, `# x\n${lineOf('dev', old)}${lineOf('dev-2', next)}`);
    await store.check({ vm: 'dev', key: old });
    await store.check({ vm: 'dev-2', key: next });
    // ssh leaves this file when it updates host keys.
    const backup = join(paths.hosts, 'dev.known_hosts.old');
    writeFileSync(backup, derivedOf('dev', old), { mode: 0o600 });
    assert.equal(store.forget('dev'), true);
    assert.equal(existsSync(backup), false);
    const { record, derived, line } = filesOf(paths, 'dev');
    assert.deepEqual([record, derived, line], [undefined, undefined, `# x\n${lineOf('dev-2', next)}`]);
    assert.equal(filesOf(paths, 'dev-2').derived, derivedOf('dev-2', next));
    assert.equal(store.forget('dev'), false);
    assert.equal((await store.check({ vm: 'dev', key: next })).outcome, 'new');
  });
});

describe('the list', () => {
  test('has every VM once, by name, with its problems and refused keys', async (context) => {
    const paths = temporaryPaths(context);
    const store = withLine(paths, `zoo=\n${lineOf('dev', old)}${lineOf('mint', next)}not a name=1\n`);
    await store.check({ vm: 'dev', key: old, instance: 'i-1' });
    await store.check({ vm: 'dev', key: next, instance: 'i-1' });
    store.accept('gone', next.fingerprint);
    writeFileSync(paths.knownHosts, `zoo=\n${lineOf('dev', old)}${lineOf('mint', next)}not a name=1\n`);
    const entries = store.list();
    assert.deepEqual(
      entries.map(({ vm, pin, refused, problem }) => [
        vm,
        pin?.fingerprint,
        refused?.key.fingerprint,
        problem !== undefined,
      ]),
      [
        ['dev', old.fingerprint, next.fingerprint, false],
        ['gone', next.fingerprint, undefined, true],
        ['mint', next.fingerprint, undefined, false],
        ['zoo', undefined, undefined, true],
      ],
    );
    for (const entry of entries) assert.deepEqual(store.show(entry.vm), entry);
    assert.equal(store.show('nobody'), undefined);
  });
});

describe('a login', () => {
  test('is recorded if a pin is on record, and never fails', async (context) => {
    const paths = temporaryPaths(context);
    const store = withLine(paths, lineOf('dev', old));
    assert.equal(store.noteLogin('nobody'), true);
    assert.equal(store.list().length, 1);
    await store.check({ vm: 'dev', key: old });
    assert.equal(store.noteLogin('dev'), true);
    const { lastLogin } = filesOf(paths, 'dev').record ?? {};
    assert.ok(Math.abs(Date.parse(String(lastLogin)) - Date.now()) < 60_000);
    store.noteLogin('dev');
    assert.equal(filesOf(paths, 'dev').record?.['lastLogin'], lastLogin);
  });
});
