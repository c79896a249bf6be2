import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { describe, test } from 'node:test';
import type { Paths } from '../../src/platform/paths.ts';
import type { HostKey } from '../../src/ssh/hostkey.ts';
import { findPin } from '../../src/trust/known-hosts.ts';
import { TrustStore } from '../../src/trust/store.ts';
import { contents, ed25519Key, filesOf, keysOfRecord, temporaryPaths } from './place.ts';
import { pathOf, run } from './run-program.ts';

const processes = 10;
const vmsOfEach = 10;
/** The VMs that are pinned while four Mints write, four in each process. */
const crowd = 96;
const vmsOfEachInCrowd = 4;

function names(process: number): string[] {
  return Array.from({ length: vmsOfEach }, (_, index) => `vm-${process}-${index}`);
}

function pinMany(paths: Paths, keys: ReadonlyMap<string, HostKey>, vms: readonly string[]) {
  const list = vms.map((vm) => ({ vm, blob: keys.get(vm)?.blob.toString('base64') }));
  return run(process.execPath, [pathOf('programs/pin-many.ts'), paths.dir, 'i-1', JSON.stringify(list)]);
}

function mint(paths: Paths, name: string, count: number, manner = 'whole') {
  const words = [paths.knownHosts, name, String(count), manner];
  return run(process.execPath, [pathOf('programs/mint-like.ts'), ...words]);
}

function allKeys(): Map<string, HostKey> {
  const vms = Array.from({ length: processes }, (_, index) => names(index)).flat();
  return new Map(vms.map((vm) => [vm, ed25519Key()]));
}

/** Presents another key for a pinned VM repeatedly while the file changes. Returns each answer. */
async function attack(paths: Paths, vm: string, until: Promise<unknown>): Promise<Set<string>> {
  const store = new TrustStore(paths);
  const told = new Set<string>();
  let over = false;
  const end = until.finally(() => {
    over = true;
  });
  while (!over) {
    const checked = await store.check({ vm, key: ed25519Key(), instance: 'i-1' });
    told.add(checked.outcome);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  await end;
  return told;
}

async function assertAllPinned(paths: Paths, keys: ReadonlyMap<string, HostKey>): Promise<void> {
  const store = new TrustStore(paths);
  await Promise.all(
    [...keys].map(async ([vm, key]) => {
      assert.equal((await store.check({ vm, key: ed25519Key(), instance: 'i-1' })).outcome, 'changed', vm);
      assert.equal((await store.check({ vm, key, instance: 'i-1' })).outcome, 'pinned', vm);
      assert.equal((await store.check({ vm, key, instance: 'i-1' })).outcome, 'pinned', vm);
    }),
  );
  const text = contents(paths.knownHosts) ?? '';
  for (const [vm, { fingerprint }] of keys) {
    assert.deepEqual(findPin(text, vm), { kind: 'pin', fingerprint }, vm);
    assert.equal(keysOfRecord(filesOf(paths, vm).record)[0]?.['fingerprint'], fingerprint);
  }
}

describe('many writers at once', () => {
  test('of mint-ssh lose nothing', async (context) => {
    const paths = temporaryPaths(context);
    const keys = allKeys();
    const ended = await Promise.all(
      Array.from({ length: processes }, (_, index) => pinMany(paths, keys, names(index))),
    );
    for (const { status, stderr } of ended) assert.equal(status, 0, stderr);
    assert.equal(contents(paths.knownHosts)?.trimEnd().split('\n').length, processes * vmsOfEach);
    await assertAllPinned(paths, keys);
  });

  test('of mint-ssh lose nothing of a Mint that rewrites the file in place', async (context) => {
    const paths = temporaryPaths(context);
    mkdirSync(paths.dir, { recursive: true, mode: 0o700 });
    const keys = allKeys();
    const ours = Array.from({ length: 4 }, (_, index) => pinMany(paths, keys, names(index)));
    const [mints, ...ended] = await Promise.all([mint(paths, 'mint', 10, 'torn'), ...ours]);
    for (const { status, stderr } of ended) assert.equal(status, 0, stderr);
    assert.equal(mints.status, 0, mints.stderr);
    const text = contents(paths.knownHosts) ?? '';
    for (let number = 0; number < 10; number += 1) {
      assert.equal(findPin(text, `mint-${number}`).kind, 'pin', `mint-${number}`);
    }
  });

  test('beside four Mints: every pin is kept, and no other key is accepted at any time', async (context) => {
    const paths = temporaryPaths(context);
    const [target = '', ...vms] = Array.from({ length: crowd + 1 }, (_, index) => `vm-${index}`);
    const keys = new Map([target, ...vms].map((vm) => [vm, ed25519Key()]));
    const first = await pinMany(paths, keys, [target]);
    assert.equal(first.status, 0, first.stderr);
    const writers = Promise.all([
      ...Array.from({ length: crowd / vmsOfEachInCrowd }, (_, index) =>
        pinMany(paths, keys, vms.slice(index * vmsOfEachInCrowd, (index + 1) * vmsOfEachInCrowd)),
      ),
      ...['a', 'b', 'c', 'd'].map((name) => mint(paths, `mint-${name}`, 40)),
    ]);
    assert.deepEqual([...(await attack(paths, target, writers))], ['changed']);
    for (const { status, stderr } of await writers) assert.equal(status, 0, stderr);
    await assertAllPinned(paths, keys);
  });
});
