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
  test('stands in the derived file before the verdict, and nowhere else', async (context) => {
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

  test('leaves nothing when its connection ends unproven', async (context) => {
    const paths = temporaryPaths(context);
    const store = new TrustStore(paths);
    const provisional = provisionalOf(await store.check({ vm: 'dev', key: old }));
    provisional.release();
    provisional.release();
    assert.deepEqual(filesOf(paths, 'dev'), { line: undefined, record: undefined, derived: undefined });
    assert.deepEqual(store.list(), []);
  });

  test('is pinned with everything that is known of it', async (context) => {
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
      assert.ok(Math.abs(Date.parse(String(date)) - Date.now()) < 5000);
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

  test('that one connection has proven is pinned for all', async (context) => {
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

  test('excludes another first key until it is gone', async (context) => {
    const paths = temporaryPaths(context);
    const store = new TrustStore(paths);
    const first = provisionalOf(await store.check({ vm: 'dev', key: old }));
    await assert.rejects(store.check({ vm: 'dev', key: other }), code('host-key-changed'));
    assert.equal(filesOf(paths, 'dev').derived, derivedOf('dev', old));
    provisionalOf(await store.check({ vm: 'build', key: other })).release();
    first.release();
    provisionalOf(await store.check({ vm: 'dev', key: other })).release();
  });

  test('is one key however many connections come at once', async (context) => {
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

  test('is not pinned over a key that was pinned meanwhile', async (context) => {
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

  test('that an ended agent left behind is gone when the next one starts', async (context) => {
    const paths = temporaryPaths(context);
    const before = new TrustStore(paths);
    await pin(before, old);
    await before.check({ vm: 'build', key: other });
    new TrustStore(paths).start();
    assert.equal(filesOf(paths, 'build').derived, undefined);
    assert.equal(filesOf(paths, 'dev').derived, derivedOf('dev', old));
  });

  test('may be of another type where the VM has no ed25519 key', async (context) => {
    const paths = temporaryPaths(context);
    const [store, key] = [new TrustStore(paths), ecdsaKey()];
    await pin(store, key);
    assert.equal(filesOf(paths, 'dev').derived, derivedOf('dev', key));
    assert.equal((await store.check({ vm: 'dev', key })).outcome, 'pinned');
  });

  test('is refused when it is a certificate', async (context) => {
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

  test('matches with all that is on record of it, and of no other key', async (context) => {
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

  test('gets its derived file back when that is gone or holds something else', async (context) => {
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

  test('that Mint pinned gets a record when it is seen', async (context) => {
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

  test('that Mint pinned anew counts, whatever our record says', async (context) => {
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

  test('survives a damaged record, which is written anew', async (context) => {
    const paths = temporaryPaths(context);
    const store = new TrustStore(paths);
    await pin(store, old);
    writeFileSync(vmPaths(paths, 'dev').record, '{"version":');
    assert.equal((await store.check({ vm: 'dev', key: old })).outcome, 'pinned');
    assert.equal(keysOfRecord(filesOf(paths, 'dev').record)[0]?.['fingerprint'], old.fingerprint);
    writeFileSync(vmPaths(paths, 'dev').record, '{"version":');
    assert.equal((await store.check({ vm: 'dev', key: other })).outcome, 'changed');
  });

  test('keeps fields of its record that we do not know', async (context) => {
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
    assert.ok(Math.abs(Date.parse(String(after?.['lastLogin'])) - Date.now()) < 5000);
  });
});

describe('a changed key', () => {
  test('is reported with what is pinned, and changes nothing that is trusted', async (context) => {
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

  test('is changed as well where only Mint knows the pinned one', async (context) => {
    const paths = temporaryPaths(context);
    put(paths, lineOf('dev', old));
    const store = new TrustStore(paths);
    const checked = await store.check({ vm: 'dev', key: ed25519Key() });
    assert.deepEqual(checked, { outcome: 'changed', pin: { fingerprint: old.fingerprint } });
    // What was only refused is not a pin: Mint deletes the line, and the VM is a new one to us.
    put(paths, '');
    provisionalOf(await store.check({ vm: 'dev', key: other })).release();
  });

  test('of another type is told apart where the console says nothing', async (context) => {
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

describe('a line that is gone while our record knows the key', () => {
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

  test('means a new VM where the instance is another one', async (context) => {
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
    test(`never lets another key in where ${what}`, async (context) => {
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

  test('is not taken for a first use where the record is damaged', async (context) => {
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

describe('a file that is not as it should be', () => {
  for (const [what, text] of Object.entries({
    'a bad value': 'x=1\ndev=SHA256:short\n',
    'an empty value': `dev=${old.fingerprint}\ndev=\n`,
    'a NUL byte': `dev=${old.fingerprint}\n\0\n`,
    'more than 4 MB': `dev=${old.fingerprint}\n${'#'.repeat(4 * 1024 * 1024)}`,
  })) {
    test(`${what} refuses the VM, and is never a first use`, async (context) => {
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

  test('a bad value of one VM is named with its line, and does not touch another', async (context) => {
    const paths = temporaryPaths(context);
    put(paths, `# x\n\nbuild=\n${lineOf('dev', old)}`);
    const store = new TrustStore(paths);
    assert.equal((await store.check({ vm: 'dev', key: old })).outcome, 'pinned');
    await assert.rejects(store.check({ vm: 'build', key: old }), /line 3/);
  });

  test('a link, or a file that others can write to, is refused', async (context) => {
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

  test('costs a first key nothing where there is no file, or an old one, or one that we wrote', async (context) => {
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

  test('keeps its last line, though it has no end yet, when we write', async (context) => {
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
