/** A pin as a set of keys: what ssh adds to and drops from the VM's known-hosts file, and what a console adds. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { type Paths, vmPaths } from '../../src/platform/paths.ts';
import type { HostKey } from '../../src/ssh/hostkey.ts';
import type { ConsoleBlock } from '../../src/trust/pin.ts';
import { TrustStore } from '../../src/trust/store.ts';
import { certificate, derivedOf, ecdsaKey, ed25519Key, filesOf, lineOf, temporaryPaths } from './place.ts';

const [old, next] = [ed25519Key(), ed25519Key()];
const curve = ecdsaKey();
const at = { vm: 'dev', instance: 'i-1' };

async function pin(store: TrustStore, key: HostKey): Promise<void> {
  const checked = await store.check({ ...at, key });
  assert.ok(checked.outcome === 'new');
  checked.provisional.pin();
}

/** What ssh leaves in the file: its own lines, without our pattern for libssh. */
function sshWrites(paths: Paths, ...lines: string[]): void {
  writeFileSync(vmPaths(paths, 'dev').knownHosts, lines.join(''), { mode: 0o600 });
}

const line = ({ type, blob }: HostKey, name = 'dev') => `${name} ${type} ${blob.toString('base64')}\n`;

function evidence(store: TrustStore): string[] {
  return (store.show('dev')?.pins ?? []).map(({ type, evidence: why }) => `${type} ${why}`);
}

async function outcome(store: TrustStore, key: HostKey, mayAdopt = true): Promise<string> {
  const checked = await store.check({ ...at, key }, undefined, () => mayAdopt);
  if (checked.outcome === 'new') checked.provisional.release();
  return checked.outcome;
}

describe('keys that the pinned host has proved inside a session', () => {
  test('are pinned beside the key of the session', async (context) => {
    const paths = temporaryPaths(context);
    const store = new TrustStore(paths);
    await pin(store, old);
    sshWrites(paths, line(old), line(curve));
    assert.equal(await outcome(store, curve), 'pinned');
    assert.deepEqual(evidence(store), ['ssh-ed25519 first-use', 'ecdsa-sha2-nistp256 proved']);
    assert.equal(filesOf(paths, 'dev').line, lineOf('dev', old));
    assert.equal(filesOf(paths, 'dev').derived, derivedOf('dev', old, curve));
  });

  test('replace the old one once the host drops it: two keys of a type, then one', async (context) => {
    const paths = temporaryPaths(context);
    const store = new TrustStore(paths);
    await pin(store, old);
    sshWrites(paths, line(old), line(next));
    assert.equal(await outcome(store, next), 'pinned');
    assert.equal(await outcome(store, old), 'pinned');
    assert.equal(filesOf(paths, 'dev').line, lineOf('dev', old));
    sshWrites(paths, line(next));
    assert.equal(await outcome(store, next), 'pinned');
    assert.equal(await outcome(store, old), 'changed');
    assert.equal(filesOf(paths, 'dev').line, lineOf('dev', next));
    assert.deepEqual(evidence(store), ['ssh-ed25519 proved']);
  });

  test('are written under libssh’s name to a separate file, so that ssh can update the other', async (context) => {
    const paths = temporaryPaths(context);
    const store = new TrustStore(paths);
    await pin(store, old);
    sshWrites(paths, line(old), line(curve));
    await outcome(store, old);
    const { libsshKnownHosts } = vmPaths(paths, 'dev');
    assert.equal(readFileSync(libsshKnownHosts, 'latin1'), line(old, '[dev]:*') + line(curve, '[dev]:*'));
    store.forget('dev');
    assert.throws(() => readFileSync(libsshKnownHosts), { code: 'ENOENT' });
  });

  test('are no longer refused', async (context) => {
    const paths = temporaryPaths(context);
    const store = new TrustStore(paths);
    await pin(store, old);
    assert.equal(await outcome(store, curve), 'type-not-pinned');
    assert.equal(store.show('dev')?.refused?.reason, 'type');
    sshWrites(paths, line(old), line(curve));
    assert.equal(await outcome(store, curve), 'pinned');
    assert.equal(store.show('dev')?.refused, undefined);
  });
});

describe('a change of the known-hosts file', () => {
  const cases: Record<string, string[]> = {
    'without a pinned key': [line(next), line(curve)],
    'with a pinned key under another name': [line(old, 'elsewhere'), line(next)],
    'with a pinned key in a pattern': [line(old, 'd*'), line(next)],
    'as a certificate authority': [line(old), `@cert-authority ${line(next)}`],
    'as a revoked key': [line(old), `@revoked ${line(next)}`],
    'with another type than its blob': [line(old), line(next).replace('ssh-ed25519', 'ssh-rsa')],
    'as a certificate': [line(old), line(certificate())],
    hashed: [line(old), line(next, '|1|c2FsdA==|aGFzaA==')],
    'with something behind the key': [line(old), line(next).replace('\n', 'x\n')],
  };
  for (const [what, lines] of Object.entries(cases)) {
    test(`${what} adds no key`, async (context) => {
      const paths = temporaryPaths(context);
      const store = new TrustStore(paths);
      await pin(store, old);
      sshWrites(paths, ...lines);
      assert.equal(await outcome(store, next), 'changed');
      assert.deepEqual(evidence(store), ['ssh-ed25519 first-use']);
      assert.equal(await outcome(store, old), 'pinned');
      assert.equal(filesOf(paths, 'dev').derived, derivedOf('dev', old));
    });
  }

  test('while a session with another host key is open adds no key', async (context) => {
    const paths = temporaryPaths(context);
    const store = new TrustStore(paths);
    await pin(store, old);
    sshWrites(paths, line(old), line(next));
    assert.equal(await outcome(store, next, false), 'changed');
    assert.equal(await outcome(store, old, false), 'pinned');
    assert.equal(filesOf(paths, 'dev').derived, derivedOf('dev', old));
  });

  test('after the VM was forgotten adds no key', async (context) => {
    const paths = temporaryPaths(context);
    const store = new TrustStore(paths);
    await pin(store, old);
    store.forget('dev');
    sshWrites(paths, line(old), line(next));
    assert.equal(await outcome(store, next), 'new');
    assert.deepEqual(evidence(store), []);
  });

  test('by a host whose pin AWS contradicts adds no key', async (context) => {
    const paths = temporaryPaths(context);
    const store = new TrustStore(paths);
    await pin(store, old);
    const block: ConsoleBlock = {
      instance: 'i-1',
      keys: [{ type: next.type, fingerprint: next.fingerprint, key: next }],
      isWhole: true,
    };
    assert.equal(store.learn('dev', block, {}), 'contradicts');
    sshWrites(paths, line(old), line(curve));
    assert.equal(await outcome(store, curve), 'contradicted');
    assert.deepEqual(evidence(store), ['ssh-ed25519 first-use']);
  });
});

describe('what the console shows', () => {
  const block = (...keys: HostKey[]): ConsoleBlock => ({
    instance: 'i-1',
    keys: keys.map((key) => ({ type: key.type, fingerprint: key.fingerprint, key })),
    isWhole: true,
  });

  test('at first contact pins all keys that it lists', async (context) => {
    const paths = temporaryPaths(context);
    const store = new TrustStore(paths);
    const checked = await store.check({ ...at, key: curve }, { kind: 'block', block: block(old, curve) });
    assert.ok(checked.outcome === 'new' && checked.evidence === 'console');
    assert.deepEqual(evidence(store), []);
    checked.provisional.pin();
    assert.deepEqual(evidence(store), ['ssh-ed25519 console', 'ecdsa-sha2-nistp256 console']);
    assert.equal(filesOf(paths, 'dev').line, lineOf('dev', old));
    assert.equal(await outcome(store, old), 'pinned');
  });

  test('later verifies a pin of first use and adds the other keys', async (context) => {
    const paths = temporaryPaths(context);
    const store = new TrustStore(paths);
    await pin(store, curve);
    assert.equal(filesOf(paths, 'dev').line, undefined);
    assert.equal(
      store.learn('dev', block(old, curve), { instance: 'i-1', account: '123456789012' }),
      'agrees',
    );
    assert.deepEqual(evidence(store), ['ssh-ed25519 console', 'ecdsa-sha2-nistp256 console']);
    assert.equal(filesOf(paths, 'dev').line, lineOf('dev', old));
    assert.match(readFileSync(vmPaths(paths, 'dev').knownHosts, 'latin1'), /ssh-ed25519/);
  });

  test('of another instance does not affect the pin', async (context) => {
    const store = new TrustStore(temporaryPaths(context));
    await pin(store, old);
    assert.equal(store.learn('dev', { ...block(next), instance: 'i-2' }, {}), undefined);
    assert.equal(await outcome(store, old), 'pinned');
  });

  test('is remembered with a refusal, so that no later key is accepted while AWS does not answer', async (context) => {
    const store = new TrustStore(temporaryPaths(context));
    const refused = await store.check({ ...at, key: next }, { kind: 'block', block: block(old) });
    assert.equal(refused.outcome, 'unverified');
    assert.equal(await outcome(store, next), 'refused-before');
    assert.equal(await outcome(store, ed25519Key()), 'unverified');
    assert.equal(await outcome(store, curve), 'unverified');
    assert.equal(await outcome(store, old), 'new');
    const elsewhere = await store.check({ vm: 'dev', instance: 'i-2', key: next });
    assert.equal(elsewhere.outcome, 'new');
  });

  test('against a pin is resolved by accepting either key, which drops what the contradicted host proved', async (context) => {
    for (const choice of [old, next]) {
      const paths = temporaryPaths(context);
      const store = new TrustStore(paths);
      await pin(store, old);
      sshWrites(paths, line(old), line(curve));
      assert.equal(await outcome(store, old), 'pinned');
      assert.equal(store.learn('dev', block(next), {}), 'contradicts');
      assert.equal(await outcome(store, old), 'contradicted');
      assert.notEqual(store.show('dev')?.contradiction, undefined);
      store.accept('dev', choice.fingerprint);
      assert.equal(await outcome(store, choice), 'pinned');
      assert.equal(filesOf(paths, 'dev').line, lineOf('dev', choice));
      assert.equal(await outcome(store, curve), choice === old ? 'pinned' : 'unverified');
      assert.equal(await outcome(store, choice === old ? next : old), 'changed');
    }
  });
});

describe('Mint’s file', () => {
  test('has no line for a VM whose ed25519 key is unknown', async (context) => {
    const paths = temporaryPaths(context);
    const store = new TrustStore(paths);
    await pin(store, curve);
    assert.equal(filesOf(paths, 'dev').line, undefined);
    assert.equal(await outcome(store, curve), 'pinned');
    assert.equal(await outcome(store, old), 'type-not-pinned');
    const elsewhere = await store.check({ vm: 'dev', instance: 'i-2', key: old });
    assert.equal(elsewhere.outcome, 'changed', 'a missing line does not mean that Mint removed it');
  });

  test('loses the line of another type that an older version wrote, and gets the ed25519 key’s', async (context) => {
    const paths = temporaryPaths(context);
    const store = new TrustStore(paths);
    await pin(store, curve);
    writeFileSync(paths.knownHosts, lineOf('dev', curve), { mode: 0o600 });
    assert.equal(await outcome(store, curve), 'pinned');
    assert.equal(filesOf(paths, 'dev').line, '');
    sshWrites(paths, line(curve), line(old));
    assert.equal(await outcome(store, old), 'pinned');
    assert.equal(filesOf(paths, 'dev').line, lineOf('dev', old));
  });

  test('with another key than the record’s means another machine: the other types do not count either', async (context) => {
    const paths = temporaryPaths(context);
    const store = new TrustStore(paths);
    await pin(store, old);
    sshWrites(paths, line(old), line(curve));
    assert.equal(await outcome(store, curve), 'pinned');
    writeFileSync(paths.knownHosts, lineOf('dev', next), { mode: 0o600 });
    assert.equal(await outcome(store, curve), 'type-not-pinned');
    assert.equal(await outcome(store, next), 'pinned');
    assert.equal(await outcome(store, curve), 'type-not-pinned');
  });
});
