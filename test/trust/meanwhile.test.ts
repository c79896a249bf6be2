/**
 * What another connection, AWS or Mint says of a VM's host key between the check of a key and the moment it is written
 * down; and which of two console blocks of one instance counts.
 */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import type { MintError } from '../../src/errors.ts';
import { vmPaths } from '../../src/platform/paths.ts';
import type { HostKey } from '../../src/ssh/hostkey.ts';
import type { ConsoleAnswer } from '../../src/trust/decide.ts';
import type { ConsoleBlock } from '../../src/trust/pin.ts';
import { type Provisional, TrustStore } from '../../src/trust/store.ts';
import { TrustFiles } from '../../src/trust/trust-files.ts';
import { certificate, derivedOf, ecdsaKey, ed25519Key, filesOf, lineOf, temporaryPaths } from './place.ts';

const [own, foreign, third] = [ed25519Key(), ed25519Key(), ed25519Key()];
const [curve, foreignCurve] = [ecdsaKey(), ecdsaKey()];
const at = { vm: 'dev', instance: 'i-1' };
const silent: ConsoleAnswer = { kind: 'silent', why: 'AWS did not answer' };

const block = (...keys: HostKey[]): ConsoleBlock => ({
  instance: 'i-1',
  keys: keys.map((key) => ({ type: key.type, fingerprint: key.fingerprint, key })),
  isWhole: true,
});
const part = (...keys: HostKey[]): ConsoleBlock => ({ ...block(...keys), isWhole: false });
const shows = (one: ConsoleBlock): ConsoleAnswer => ({ kind: 'block', block: one });

async function firstUse(store: TrustStore, key: HostKey, console = silent): Promise<Provisional> {
  const checked = await store.check({ ...at, key }, console);
  assert.ok(checked.outcome === 'new', checked.outcome);
  return checked.provisional;
}

async function outcome(store: TrustStore, key: HostKey, console = silent): Promise<string> {
  const checked = await store.check({ ...at, key }, console);
  if (checked.outcome === 'new') checked.provisional.release();
  return checked.outcome;
}

const unverified = (error: MintError) => error.code === 'host-key-unverified';

describe('a first key that one connection was shown while AWS was silent', () => {
  for (const [what, console] of [
    ['AWS shows another key of its type to a second connection', shows(block(own))],
    ['a damaged block shows another key of its type', shows(part(own))],
  ] as const) {
    test(`is not pinned once ${what}`, async (context) => {
      const paths = temporaryPaths(context);
      const store = new TrustStore(paths);
      const provisional = await firstUse(store, foreign);
      assert.equal(await outcome(store, foreign, console), 'unverified');
      assert.throws(() => provisional.pin(), unverified);
      provisional.release();
      assert.equal(store.show('dev')?.pin, undefined);
      assert.equal(filesOf(paths, 'dev').line, undefined);
      assert.equal(store.show('dev')?.refused?.key.fingerprint, foreign.fingerprint);
      assert.equal(await outcome(store, foreign), 'refused-before');
    });
  }

  test('is not pinned once AWS denied another key to a second connection', async (context) => {
    const store = new TrustStore(temporaryPaths(context));
    const provisional = await firstUse(store, foreign);
    assert.equal(await outcome(store, third, shows(block(own))), 'unverified');
    assert.throws(() => provisional.pin(), unverified);
    assert.equal(store.show('dev')?.pin, undefined);
  });

  test('is pinned if the user accepted it in the meantime, although it was refused', async (context) => {
    const store = new TrustStore(temporaryPaths(context));
    const provisional = await firstUse(store, foreign);
    assert.equal(await outcome(store, foreign, shows(block(own))), 'unverified');
    store.accept('dev', foreign.fingerprint);
    provisional.pin();
    assert.equal(store.show('dev')?.pin?.evidence, 'accepted');
  });
});

describe('the ed25519 key that the agent asks for after a first contact with another type', () => {
  const sighting = { ...at, key: foreign };

  test('is pinned beside the first key', async (context) => {
    const paths = temporaryPaths(context);
    const store = new TrustStore(paths);
    (await firstUse(store, curve)).pin();
    store.addFirstUse(sighting);
    assert.deepEqual(
      store.show('dev')?.pins.map(({ evidence }) => evidence),
      ['first-use', 'first-use'],
    );
    assert.equal(filesOf(paths, 'dev').line, lineOf('dev', foreign));
  });

  test('is not pinned if it was refused before', async (context) => {
    const store = new TrustStore(temporaryPaths(context));
    assert.equal(await outcome(store, foreign, shows(part(own))), 'unverified');
    (await firstUse(store, curve)).pin();
    assert.throws(() => store.addFirstUse(sighting), unverified);
    assert.equal(await outcome(store, foreign), 'unverified');
    assert.equal(store.show('dev')?.pins.length, 1);
  });

  test('is not pinned if the console lists another one', async (context) => {
    const store = new TrustStore(temporaryPaths(context));
    assert.equal(await outcome(store, third, shows(part(own))), 'unverified');
    (await firstUse(store, curve)).pin();
    assert.throws(() => store.addFirstUse(sighting), unverified);
  });

  test('is not pinned beside a key that was verified or accepted in the meantime, and does not replace one', async (context) => {
    for (const change of [
      (store: TrustStore) => store.accept('dev', curve.fingerprint),
      (store: TrustStore) => store.learn('dev', block(curve, own), {}),
      (store: TrustStore) => store.addFirstUse({ ...at, key: own }),
    ]) {
      const store = new TrustStore(temporaryPaths(context));
      (await firstUse(store, curve)).pin();
      change(store);
      store.addFirstUse(sighting);
      assert.ok(!store.show('dev')?.pins.some(({ fingerprint }) => fingerprint === foreign.fingerprint));
    }
  });
});

describe('of two console blocks of an instance', () => {
  test('a damaged one is remembered: it blocks a second key of its type in an outage', async (context) => {
    const store = new TrustStore(temporaryPaths(context));
    assert.equal(await outcome(store, foreign, shows(part(own))), 'unverified');
    assert.equal(await outcome(store, third), 'unverified');
    assert.equal(await outcome(store, own), 'new');
    assert.equal(await outcome(store, curve), 'new');
  });

  test('AWS is asked again after a damaged one', async (context) => {
    const store = new TrustStore(temporaryPaths(context));
    assert.equal(await outcome(store, foreign, shows(part(own))), 'unverified');
    assert.equal(await outcome(store, curve, { kind: 'not-asked' }), 'ask-console');
    assert.equal(await outcome(store, foreignCurve, shows(block(own, curve))), 'unverified');
    assert.equal(await outcome(store, ecdsaKey()), 'unverified');
  });

  test('a damaged one that contradicts a pin blocks without asking AWS, until AWS shows the pinned key', async (context) => {
    const store = new TrustStore(temporaryPaths(context));
    (await firstUse(store, own)).pin();
    assert.equal(store.learn('dev', part(foreign), {}), 'contradicts');
    assert.equal(await outcome(store, own, { kind: 'not-asked' }), 'contradicted');
    assert.equal(await outcome(store, own, silent), 'contradicted');
    assert.equal(await outcome(store, own, shows(block(own))), 'pinned');
  });

  test('a damaged one is not replaced by another damaged one', async (context) => {
    const store = new TrustStore(temporaryPaths(context));
    assert.equal(await outcome(store, foreign, shows(part(own))), 'unverified');
    assert.equal(await outcome(store, foreignCurve, shows(part(curve))), 'unverified');
    assert.equal(await outcome(store, third), 'unverified');
  });

  test('the complete one counts, even if AWS shows a part of it later', async (context) => {
    const store = new TrustStore(temporaryPaths(context));
    assert.equal(await outcome(store, foreign, shows(block(own, curve))), 'unverified');
    assert.equal(await outcome(store, foreignCurve, shows(part(own))), 'unverified');
    (await firstUse(store, own)).pin();
    store.learn('dev', part(own), {});
    assert.ok(store.knowsInstance('dev', 'i-1') === false, 'the account is not known');
    assert.equal(await outcome(store, foreignCurve), 'changed');
    store.forget('dev');
    assert.equal(await outcome(store, foreignCurve), 'new');
  });
});

describe('a line that Mint writes after ours was read', () => {
  const pin = { fingerprint: own.fingerprint };

  test('is not replaced by our record’s', (context) => {
    const paths = temporaryPaths(context);
    const files = new TrustFiles(paths);
    files.locked(() => files.keepLine('dev', [pin], () => own.fingerprint));
    assert.equal(filesOf(paths, 'dev').line, lineOf('dev', own), 'a line that is missing is added');
    writeFileSync(paths.knownHosts, lineOf('dev', third), { mode: 0o600 });
    for (const choice of [own.fingerprint, undefined]) {
      assert.throws(
        () => files.locked(() => files.keepLine('dev', [pin], () => choice)),
        (error: MintError) => error.code === 'host-key-changed',
      );
      assert.equal(filesOf(paths, 'dev').line, lineOf('dev', third));
    }
    const both = [pin, { fingerprint: third.fingerprint }];
    files.locked(() => files.keepLine('dev', both, () => own.fingerprint));
    assert.equal(filesOf(paths, 'dev').line, lineOf('dev', own));
  });

  test('that is damaged is not repaired by what the console says', async (context) => {
    const paths = temporaryPaths(context);
    const store = new TrustStore(paths);
    (await firstUse(store, own)).pin();
    const torn = 'dev=SHA256:abc\n';
    writeFileSync(paths.knownHosts, torn, { mode: 0o600 });
    assert.equal(store.learn('dev', block(own), { account: '123456789012' }), undefined);
    assert.equal(filesOf(paths, 'dev').line, torn);
  });
});

describe('what an ssh adds whose host key is not pinned now', () => {
  test('is removed from the file, and the keys of open connections stay', async (context) => {
    const paths = temporaryPaths(context);
    const store = new TrustStore(paths);
    const { knownHosts } = vmPaths(paths, 'dev');
    (await firstUse(store, own)).pin();
    const held = await firstUse(store, curve, shows(block(own, curve)));
    const before = derivedOf('dev', own, curve);
    assert.equal(filesOf(paths, 'dev').derived, before);
    writeFileSync(knownHosts, derivedOf('dev', own, curve, foreign), { mode: 0o600 });
    store.restoreDerived('dev');
    assert.equal(filesOf(paths, 'dev').derived, before);
    held.release();
    assert.equal(await outcome(store, foreign), 'changed');
  });

  test('does nothing for an unknown VM', (context) => {
    const paths = temporaryPaths(context);
    new TrustStore(paths).restoreDerived('dev');
    assert.equal(filesOf(paths, 'dev').derived, undefined);
  });
});

describe('a console block and the keys that are pinned', () => {
  const evidence = (store: TrustStore) =>
    (store.show('dev')?.pins ?? []).map((pin) => `${pin.type} ${pin.evidence}`);

  test('does not change an accepted key', async (context) => {
    const store = new TrustStore(temporaryPaths(context));
    (await firstUse(store, own)).pin();
    store.accept('dev', own.fingerprint);
    assert.equal(store.learn('dev', block(own), {}), 'agrees');
    assert.deepEqual(evidence(store), ['ssh-ed25519 accepted']);
  });

  test('pins no key whose signatures are not verified', async (context) => {
    const store = new TrustStore(temporaryPaths(context));
    (await firstUse(store, own)).pin();
    assert.equal(store.learn('dev', block(own, certificate()), {}), 'agrees');
    assert.deepEqual(evidence(store), ['ssh-ed25519 console']);
  });

  test('against one of two first uses: accepting the other drops it', async (context) => {
    const store = new TrustStore(temporaryPaths(context));
    (await firstUse(store, curve)).pin();
    store.addFirstUse({ ...at, key: foreign });
    assert.equal(store.learn('dev', block(curve, own), {}), 'contradicts');
    store.accept('dev', curve.fingerprint);
    assert.deepEqual(evidence(store), ['ecdsa-sha2-nistp256 accepted']);
    assert.equal(await outcome(store, foreign), 'unverified');
    assert.equal(await outcome(store, own), 'new');
  });
});

describe('accepting the key of another instance', () => {
  test('drops every key, the account and the console of the earlier instance', async (context) => {
    const store = new TrustStore(temporaryPaths(context));
    (await firstUse(store, curve)).pin();
    store.addFirstUse({ ...at, key: own });
    assert.equal(store.learn('dev', block(curve, own), { account: '123456789012' }), 'agrees');
    const elsewhere = { vm: 'dev', instance: 'i-2' };
    assert.equal((await store.check({ ...elsewhere, key: third })).outcome, 'changed');
    store.accept('dev', third.fingerprint);
    const pins = store.show('dev')?.pins ?? [];
    assert.deepEqual(
      pins.map(({ fingerprint, instance, account }) => ({ fingerprint, instance, account })),
      [{ fingerprint: third.fingerprint, instance: 'i-2', account: undefined }],
    );
    assert.equal((await store.check({ ...elsewhere, key: curve })).outcome, 'type-not-pinned');
    assert.equal(store.knowsInstance('dev', 'i-1'), false);
  });
});
