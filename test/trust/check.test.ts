import assert from 'node:assert/strict';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { MintError } from '../../src/errors.ts';
import { type Paths, vmPaths } from '../../src/platform/paths.ts';
import type { HostKey } from '../../src/ssh/hostkey.ts';
import { type Checked, TrustStore } from '../../src/trust/store.ts';
import {
  certificate,
  derivedOf,
  ecdsaKey,
  ed25519Key,
  filesOf,
  keysOfRecord,
  lineOf,
  temporaryPaths,
} from './place.ts';

const [old, other] = [ed25519Key(), ed25519Key()];

async function pin(store: TrustStore, key: HostKey, instance?: string): Promise<void> {
  provisionalOf(await store.check({ vm: 'dev', key, instance })).pin();
}

function provisionalOf(checked: Checked) {
  assert.equal(checked.outcome, 'new');
  return (checked as Checked & { outcome: 'new' }).provisional;
}

function put(paths: Paths, text: string): void {
  mkdirSync(paths.dir, { recursive: true, mode: 0o700 });
  writeFileSync(paths.knownHosts, text, { encoding: 'latin1', mode: 0o600 });
}

function code(expected: string) {
  return (error: MintError) => error.code === expected;
}

describe('a first key', () => {
  test('is in the derived file before the decision is returned, and in no other file', async (context) => {
    const paths = temporaryPaths(context);
    const store = new TrustStore(paths);
    provisionalOf(await store.check({ vm: 'dev', key: old }));
    assert.deepEqual(filesOf(paths, 'dev'), {
      line: undefined,
      record: undefined,
      derived: derivedOf('dev', old),
    });
    assert.equal(statSync(vmPaths(paths, 'dev').knownHosts).mode & 0o777, 0o600);
    assert.equal(statSync(paths.hosts).mode & 0o777, 0o700);
  });

  test('leaves nothing if its connection ends before the server proved it', async (context) => {
    const paths = temporaryPaths(context);
    const store = new TrustStore(paths);
    const provisional = provisionalOf(await store.check({ vm: 'dev', key: old }));
    provisional.release();
    provisional.release();
    assert.deepEqual(filesOf(paths, 'dev'), { line: undefined, record: undefined, derived: undefined });
    assert.deepEqual(store.list(), []);
  });

  test('is pinned with all known facts', async (context) => {
    const paths = temporaryPaths(context);
    const store = new TrustStore(paths);
    const sighting = { vm: 'dev', key: old, instance: 'i-1', account: '123456789012', region: 'eu-west-1' };
    const provisional = provisionalOf(await store.check(sighting));
    provisional.pin();
    provisional.pin();
    provisional.release();
    const { line, record, derived } = filesOf(paths, 'dev');
    assert.equal(line, lineOf('dev', old));
    assert.equal(derived, derivedOf('dev', old));
    const { keys, ...rest } = record ?? {};
    assert.deepEqual(rest, {
      version: 2,
      instance: 'i-1',
      account: '123456789012',
      region: 'eu-west-1',
      refused: [],
    });
    const [{ firstSeen, pinnedAt, ...pinned } = {}, ...others] = keysOfRecord({ keys });
    assert.deepEqual(others, []);
    assert.deepEqual(pinned, {
      fingerprint: old.fingerprint,
      key: old.blob.toString('base64'),
      type: 'ssh-ed25519',
      evidence: 'first-use',
    });
    for (const date of [firstSeen, pinnedAt])
      assert.ok(Math.abs(Date.parse(String(date)) - Date.now()) < 60_000);
    for (const file of [paths.knownHosts, vmPaths(paths, 'dev').record]) {
      assert.equal(statSync(file).mode & 0o777, 0o600);
    }
  });

  test('is held until the last of its connections ends', async (context) => {
    const paths = temporaryPaths(context);
    const store = new TrustStore(paths);
    const held = [];
    for (let count = 0; count < 3; count += 1)
      held.push(provisionalOf(await store.check({ vm: 'dev', key: old })));
    held[0]?.release();
    held[0]?.release();
    held[1]?.release();
    assert.equal(filesOf(paths, 'dev').derived, derivedOf('dev', old));
    held[2]?.release();
    assert.equal(filesOf(paths, 'dev').derived, undefined);
  });

  test('is pinned for all connections once one has proved it', async (context) => {
    const paths = temporaryPaths(context);
    const store = new TrustStore(paths);
    const first = provisionalOf(await store.check({ vm: 'dev', key: old }));
    const second = provisionalOf(await store.check({ vm: 'dev', key: old }));
    second.pin();
    assert.equal((await store.check({ vm: 'dev', key: old })).outcome, 'pinned');
    second.release();
    first.release();
    assert.equal(filesOf(paths, 'dev').derived, derivedOf('dev', old));
  });

  test('excludes another first key until it is released', async (context) => {
    const paths = temporaryPaths(context);
    const store = new TrustStore(paths);
    const first = provisionalOf(await store.check({ vm: 'dev', key: old }));
    await assert.rejects(store.check({ vm: 'dev', key: other }), code('host-key-changed'));
    assert.equal(filesOf(paths, 'dev').derived, derivedOf('dev', old));
    provisionalOf(await store.check({ vm: 'build', key: other })).release();
    first.release();
    provisionalOf(await store.check({ vm: 'dev', key: other })).release();
  });

  test('is one key for many simultaneous connections', async (context) => {
    const paths = temporaryPaths(context);
    const store = new TrustStore(paths);
    const keys = Array.from({ length: 20 }, (_, index) => (index % 2 === 0 ? old : other));
    const judged = await Promise.allSettled(keys.map((key) => store.check({ vm: 'dev', key })));
    const [winners, losers] = [
      judged.filter((one) => one.status === 'fulfilled'),
      judged.filter((one) => one.status === 'rejected'),
    ];
    assert.equal(winners.length, 10);
    assert.equal(losers.length, 10);
    for (const { reason } of losers) assert.equal(reason.code, 'host-key-changed');
  });

  test('does not replace a key that was pinned in the meantime', async (context) => {
    const paths = temporaryPaths(context);
    const store = new TrustStore(paths);
    const provisional = provisionalOf(await store.check({ vm: 'dev', key: other }));
    put(paths, lineOf('dev', old));
    assert.throws(() => provisional.pin(), code('host-key-changed'));
    assert.equal((await store.check({ vm: 'dev', key: old })).outcome, 'pinned');
    provisional.release();
    assert.deepEqual(filesOf(paths, 'dev').line, lineOf('dev', old));
    assert.deepEqual(filesOf(paths, 'dev').derived, derivedOf('dev', old));
  });

  test('left behind by an ended agent is removed when the next one starts', async (context) => {
    const paths = temporaryPaths(context);
    const before = new TrustStore(paths);
    await pin(before, old);
    await before.check({ vm: 'build', key: other });
    new TrustStore(paths).start();
    assert.equal(filesOf(paths, 'build').derived, undefined);
    assert.equal(filesOf(paths, 'dev').derived, derivedOf('dev', old));
  });

  test('may have another type if the VM has no ed25519 key', async (context) => {
    const paths = temporaryPaths(context);
    const [store, key] = [new TrustStore(paths), ecdsaKey()];
    await pin(store, key);
    assert.equal(filesOf(paths, 'dev').derived, derivedOf('dev', key));
    assert.equal((await store.check({ vm: 'dev', key })).outcome, 'pinned');
  });

  test('is refused if it is a certificate', async (context) => {
    const paths = temporaryPaths(context);
    const error = code('host-key-type');
    await assert.rejects(new TrustStore(paths).check({ vm: 'dev', key: certificate() }), error);
    assert.equal(existsSync(paths.hosts), false);
  });
});

describe('a pinned key', () => {
  test('matches without a write', async (context) => {
    const paths = temporaryPaths(context);
    const store = new TrustStore(paths);
    await pin(store, old, 'i-1');
    const before = changeTimes(paths);
    assert.equal((await store.check({ vm: 'dev', key: old, instance: 'i-1' })).outcome, 'pinned');
    assert.equal((await store.check({ vm: 'dev', key: old })).outcome, 'pinned');
    assert.deepEqual(changeTimes(paths), before);
  });

  test('matches with its own record, and not with that of another key', async (context) => {
    const paths = temporaryPaths(context);
    const store = new TrustStore(paths);
    await pin(store, old, 'i-1');
    const checked = await store.check({ vm: 'dev', key: old });
    assert.ok(checked.outcome === 'pinned');
    assert.equal(checked.pin.instance, 'i-1');
    put(paths, lineOf('dev', other));
    const again = await store.check({ vm: 'dev', key: other });
    assert.deepEqual(again, { outcome: 'pinned', pin: { fingerprint: other.fingerprint } });
  });

  test('restores a missing or changed derived file', async (context) => {
    const paths = temporaryPaths(context);
    const store = new TrustStore(paths);
    await pin(store, old);
    const { knownHosts } = vmPaths(paths, 'dev');
    rmSync(knownHosts);
    await store.check({ vm: 'dev', key: old });
    assert.equal(filesOf(paths, 'dev').derived, derivedOf('dev', old));
    writeFileSync(knownHosts, derivedOf('dev', other));
    await store.check({ vm: 'dev', key: old });
    assert.equal(filesOf(paths, 'dev').derived, derivedOf('dev', old));
  });

  test('that Mint pinned gets a record when it is presented', async (context) => {
    const paths = temporaryPaths(context);
    put(paths, `# mint\n${lineOf('dev', old)}`);
    const store = new TrustStore(paths);
    assert.equal((await store.check({ vm: 'dev', key: old, instance: 'i-1' })).outcome, 'pinned');
    const { line, record, derived } = filesOf(paths, 'dev');
    assert.equal(line, `# mint\n${lineOf('dev', old)}`);
    assert.equal(derived, derivedOf('dev', old));
    assert.equal(keysOfRecord(record)[0]?.['key'], old.blob.toString('base64'));
    assert.equal(record?.['instance'], 'i-1');
    assert.equal(keysOfRecord(record)[0]?.['evidence'], undefined);
  });

  test('that Mint pinned again counts, even against our record', async (context) => {
    const paths = temporaryPaths(context);
    const store = new TrustStore(paths);
    await pin(store, old);
    put(paths, lineOf('dev', other));
    assert.equal((await store.check({ vm: 'dev', key: old })).outcome, 'changed');
    assert.equal((await store.check({ vm: 'dev', key: other })).outcome, 'pinned');
    assert.equal(filesOf(paths, 'dev').derived, derivedOf('dev', other));
    assert.deepEqual(
      keysOfRecord(filesOf(paths, 'dev').record).map((one) => one['fingerprint']),
      [other.fingerprint],
    );
    assert.equal(store.show('dev')?.refused?.key.fingerprint, old.fingerprint);
  });

  test('survives a damaged record, which is replaced', async (context) => {
    const paths = temporaryPaths(context);
    const store = new TrustStore(paths);
    await pin(store, old);
    writeFileSync(vmPaths(paths, 'dev').record, '{"version":');
    assert.equal((await store.check({ vm: 'dev', key: old })).outcome, 'pinned');
    assert.equal(keysOfRecord(filesOf(paths, 'dev').record)[0]?.['fingerprint'], old.fingerprint);
    writeFileSync(vmPaths(paths, 'dev').record, '{"version":');
    assert.equal((await store.check({ vm: 'dev', key: other })).outcome, 'changed');
  });

  test('keeps unknown fields of its record', async (context) => {
    const paths = temporaryPaths(context);
    const store = new TrustStore(paths);
    await pin(store, old);
    const { record: path } = vmPaths(paths, 'dev');
    const record = JSON.parse(readFileSync(path, 'utf8'));
    writeFileSync(path, JSON.stringify({ ...record, evidence: { console: true } }));
    await store.check({ vm: 'dev', key: old, instance: 'i-1' });
    await store.check({ vm: 'dev', key: other, instance: 'i-1' });
    store.noteLogin('dev');
    const after = filesOf(paths, 'dev').record;
    assert.deepEqual(after?.['evidence'], { console: true });
    assert.equal(after?.['instance'], 'i-1');
    assert.ok(Math.abs(Date.parse(String(after?.['lastLogin'])) - Date.now()) < 60_000);
  });
});

describe('a changed key', () => {
  test('is reported with the pinned key, and does not change the trusted keys', async (context) => {
    const paths = temporaryPaths(context);
    const store = new TrustStore(paths);
    await pin(store, old, 'i-1');
    const text = `# mine\n\xff\r\n${lineOf('dev', old)}nonsense`;
    put(paths, text);
    const checked = await store.check({ vm: 'dev', key: other, instance: 'i-2' });
    assert.equal(checked.outcome, 'changed');
    if (checked.outcome !== 'changed') return;
    assert.equal(checked.pin.fingerprint, old.fingerprint);
    assert.equal(checked.pin.instance, 'i-1');
    assert.equal(filesOf(paths, 'dev').line, text);
    assert.equal(filesOf(paths, 'dev').derived, derivedOf('dev', old));
    const seen = store.show('dev')?.refused;
    assert.equal(seen?.key.fingerprint, other.fingerprint);
    assert.equal(seen?.instance, 'i-2');
  });

  test('is reported as changed if only Mint has the pinned key', async (context) => {
    const paths = temporaryPaths(context);
    put(paths, lineOf('dev', old));
    const store = new TrustStore(paths);
    const checked = await store.check({ vm: 'dev', key: ed25519Key() });
    assert.deepEqual(checked, { outcome: 'changed', pin: { fingerprint: old.fingerprint } });
    // A refused key is not a pin: after Mint deletes the line, the VM counts as new.
    put(paths, '');
    provisionalOf(await store.check({ vm: 'dev', key: other })).release();
  });

  test('of another type is distinguished if the console shows no keys', async (context) => {
    const paths = temporaryPaths(context);
    const store = new TrustStore(paths);
    await pin(store, old);
    const checked = await store.check({ vm: 'dev', key: ecdsaKey() });
    assert.ok(checked.outcome === 'type-not-pinned');
    assert.deepEqual(
      checked.pins.map(({ fingerprint }) => fingerprint),
      [old.fingerprint],
    );
    assert.equal(filesOf(paths, 'dev').derived, derivedOf('dev', old));
  });
});

describe('a missing line whose key is in our record', () => {
  test('is restored for the same key', async (context) => {
    const paths = temporaryPaths(context);
    const store = new TrustStore(paths);
    await pin(store, old, 'i-1');
    for (const instance of ['i-1', undefined]) {
      put(paths, '# x\nother=1');
      assert.equal((await store.check({ vm: 'dev', key: old, instance })).outcome, 'pinned');
      assert.equal(filesOf(paths, 'dev').line, `# x\nother=1\n${lineOf('dev', old)}`);
    }
    rmSync(paths.knownHosts);
    assert.equal((await store.check({ vm: 'dev', key: old })).outcome, 'pinned');
    assert.equal(filesOf(paths, 'dev').line, lineOf('dev', old));
    assert.equal(keysOfRecord(filesOf(paths, 'dev').record)[0]?.['evidence'], 'first-use');
  });

  test('means a new VM if the instance differs', async (context) => {
    const paths = temporaryPaths(context);
    const store = new TrustStore(paths);
    await pin(store, old, 'i-1');
    put(paths, '');
    await pin(store, other, 'i-2');
    assert.equal(filesOf(paths, 'dev').line, lineOf('dev', other));
    assert.equal(filesOf(paths, 'dev').record?.['instance'], 'i-2');
    assert.equal(keysOfRecord(filesOf(paths, 'dev').record)[0]?.['key'], other.blob.toString('base64'));
  });

  for (const [what, before, now] of [
    ['the instance is the same', 'i-1', 'i-1'],
    ['the instance was not known', undefined, 'i-2'],
    ['the instance is not known now', 'i-1', undefined],
  ] as const) {
    test(`never accepts another key if ${what}`, async (context) => {
      const paths = temporaryPaths(context);
      const store = new TrustStore(paths);
      await pin(store, old, before);
      put(paths, '');
      const checked = await store.check({ vm: 'dev', key: other, instance: now });
      assert.equal(checked.outcome, 'changed');
      assert.equal(filesOf(paths, 'dev').line, '');
      assert.equal(filesOf(paths, 'dev').derived, derivedOf('dev', old));
    });
  }

  test('is not a first use if the record is damaged', async (context) => {
    const paths = temporaryPaths(context);
    const store = new TrustStore(paths);
    await pin(store, old);
    put(paths, '');
    for (const damage of [
      '',
      '{}',
      '[]',
      'null',
      '{"version":1,"fingerprint":7}',
      '{"version":1,"key":"AAAA"}',
      '{"version":2,"keys":[{}]}',
      '{"version":2,"keys":{}}',
    ]) {
      writeFileSync(vmPaths(paths, 'dev').record, damage);
      await assert.rejects(store.check({ vm: 'dev', key: old }), code('known-hosts-corrupt'), damage);
    }
    writeFileSync(vmPaths(paths, 'dev').record, '{"version":3}');
    await assert.rejects(store.check({ vm: 'dev', key: old }), code('io-failed'));
  });
});

describe('an invalid file', () => {
  for (const [what, text] of Object.entries({
    'a bad value': 'x=1\ndev=SHA256:short\n',
    'an empty value': `dev=${old.fingerprint}\ndev=\n`,
    'a NUL byte': `dev=${old.fingerprint}\n\0\n`,
    'more than 4 MB': `dev=${old.fingerprint}\n${'#'.repeat(4 * 1024 * 1024)}`,
  })) {
    test(`${what} blocks the VM, and is never a first use`, async (context) => {
      const paths = temporaryPaths(context);
      put(paths, text);
      const store = new TrustStore(paths);
      await assert.rejects(store.check({ vm: 'dev', key: old }), (error: MintError) => {
        assert.equal(error.code, 'known-hosts-corrupt');
        assert.equal(error.exitStatus, 3);
        assert.ok(error.message.includes(paths.knownHosts));
        return true;
      });
      assert.equal(filesOf(paths, 'dev').derived, undefined);
      assert.equal(filesOf(paths, 'dev').line, text);
    });
  }

  test('reports an invalid value of one VM with its line, and does not affect other VMs', async (context) => {
    const paths = temporaryPaths(context);
    put(paths, `# x\n\nbuild=\n${lineOf('dev', old)}`);
    const store = new TrustStore(paths);
    assert.equal((await store.check({ vm: 'dev', key: old })).outcome, 'pinned');
    await assert.rejects(store.check({ vm: 'build', key: old }), /line 3/);
  });

  test('refuses a link, and a file that others can write to', async (context) => {
    const paths = temporaryPaths(context);
    put(paths, lineOf('dev', old));
    const store = new TrustStore(paths);
    const real = `${paths.dir}/elsewhere`;
    writeFileSync(real, lineOf('dev', old), { mode: 0o600 });
    rmSync(paths.knownHosts);
    symlinkSync(real, paths.knownHosts);
    await assert.rejects(store.check({ vm: 'dev', key: old }), code('unsafe-permissions'));
    rmSync(paths.knownHosts);
    put(paths, lineOf('dev', old));
    chmodSync(paths.knownHosts, 0o620);
    await assert.rejects(store.check({ vm: 'dev', key: old }), code('unsafe-permissions'));
  });
});

describe('a file that Mint is writing at this moment', () => {
  for (const [what, torn] of [
    ['empty', ''],
    ['torn within the line', 'x=1\ndev=SHA2'],
    ['torn within the name', 'x=1\nde'],
    ['torn before the line', 'x=1\n'],
  ] as const) {
    for (const known of [true, false]) {
      test(`${what} is read again, ${known ? 'with' : 'without'} a record of ours`, async (context) => {
        const paths = temporaryPaths(context);
        const store = new TrustStore(paths);
        if (known) await pin(store, old, 'i-1');
        put(paths, torn);
        const judged = store.check({ vm: 'dev', key: other, instance: 'i-2' });
        await delay(60);
        put(paths, `x=1\n${lineOf('dev', old)}`);
        assert.equal((await judged).outcome, 'changed');
      });
    }
  }

  test('does not delay a first key if there is no file, an old one, or one that we wrote', async (context) => {
    const paths = temporaryPaths(context);
    const store = new TrustStore(paths);
    const took = async (vm: string) => {
      const start = performance.now();
      provisionalOf(await store.check({ vm, key: old })).pin();
      return performance.now() - start;
    };
    // Waiting would take 200 ms each time; a busy machine is slow once, not five times.
    const times = [await took('first')];
    for (const vm of ['a', 'b', 'c', 'd']) times.push(await took(vm));
    assert.ok(Math.min(...times) < 150, String(times));
    await delay(250);
    const later = [await took('e'), await took('f'), await took('g')];
    assert.ok(Math.min(...later) < 150, String(later));
  });

  test('keeps its last line without a line end when we write', async (context) => {
    const paths = temporaryPaths(context);
    const store = new TrustStore(paths);
    const provisional = provisionalOf(await store.check({ vm: 'dev', key: old }));
    put(paths, 'mint=torn');
    provisional.pin();
    assert.equal(filesOf(paths, 'dev').line, `mint=torn\n${lineOf('dev', old)}`);
  });
});

function changeTimes(paths: Paths): bigint[] {
  const { record, knownHosts } = vmPaths(paths, 'dev');
  return [paths.knownHosts, record, knownHosts].map((path) => statSync(path, { bigint: true }).ctimeNs);
}
