/** `rotate` and `migrate`, killed at every write, with real logins to an instance. */
import assert from 'node:assert/strict';
import { chmodSync, cpSync, existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, beforeEach, describe, test } from 'node:test';
import { parseKeyFile } from '../../../src/keys/store/key-file.ts';
import { listKeys } from '../../../src/keys/store/key-store.ts';
import { blobOfLine, publicBlob } from '../../../src/keys/store/key-type.ts';
import { keyForMachine } from '../../../src/keys/store/key-use.ts';
import { openKeyFile } from '../../../src/keys/store/private-key.ts';
import { needsOldKey } from '../../../src/keys/store/rotation.ts';
import { makeKey } from '../key-lines.ts';
import { mainProgram, readDirectory } from '../store/keys-program.ts';
import { type KeyWorld, makeKeyWorld } from './key-world.ts';

const preload = join(import.meta.dirname, '../store/programs/copied-at-step.ts');

describe('mint-ssh keys, killed at every write', { timeout: 600_000 }, () => {
  let place: KeyWorld;
  /** The directory of older systems. */
  let older: string;
  let copies: string;

  before(async () => {
    // Only the key is authorized, so that a lost key shows.
    place = await makeKeyWorld(['dev'], ['access = "key:lab"']);
    older = join(place.world.directory, 'older');
    copies = join(place.world.directory, 'copies');
  });

  after(() => place.end());

  beforeEach(() => {
    for (const directory of [place.store, older, copies]) rmSync(directory, { recursive: true, force: true });
    for (const directory of [place.store, older, copies])
      mkdirSync(directory, { recursive: true, mode: 0o700 });
  });

  async function run(words: readonly string[], env: Readonly<Record<string, string>>) {
    const program = ['--import', preload, mainProgram, 'keys', ...words];
    return place.world.run(process.execPath, program, { env, timeout: 90_000 });
  }

  /** Copies store, VM and older keys at each write; gives the number of copies. */
  async function record(words: readonly string[], least = 20): Promise<number> {
    const directories = [place.store, place.sshDirectory('dev'), older];
    const ended = await run(words, { COPY_OF: directories.join(':'), COPY_TO: copies });
    assert.equal(ended.status, 0, ended.stderr);
    const steps = readDirectory(copies).filter((name) => /^\d+$/.test(name)).length;
    assert.ok(steps > least, `${words[0]} made only ${steps} writes`);
    return steps;
  }

  /** The state for the next command: the key that is served for the VM, and no unknown files. */
  async function servedAt(step: number): Promise<{ blob: Buffer | undefined; letIn: Buffer[] }> {
    const [store = '', remote = ''] = [0, 1].map((at) => join(copies, String(step), String(at)));
    const file = join(remote, 'authorized_keys');
    const lines = existsSync(file) ? readFileSync(file, 'utf8').split('\n') : [];
    const letIn = lines.flatMap((line) => blobOfLine(line.trim()) ?? []);
    const [record] = listKeys(store);
    const { instance } = place.world.vm('dev');
    const served = keyForMachine(store, { profile: 'lab' }, { name: 'dev', instance, region: undefined });
    assert.equal(served?.record.name, record?.name);
    if (served === undefined) return { blob: undefined, letIn };
    const blob = publicBlob(await openKeyFile(parseKeyFile(served.privateKey), undefined));
    assert.deepEqual(blobOfLine(served.publicKey), blob);
    const { rotation } = served.record;
    // Each private key on the disk is known: in use, or part of the rotation.
    const others = readDirectory(join(store, '.mint-ssh')).filter((name) => /\.(?:next|old)$/.test(name));
    const isOver = rotation !== undefined && needsOldKey(served.record).length === 0;
    if (rotation !== undefined && !isOver) assert.ok(others.includes('lab.old'), `at write ${step}`);
    if (rotation !== undefined) assert.ok(!others.includes('lab.next'), `at write ${step}`);
    return { blob, letIn };
  }

  test('of rotate, the instance accepts the key that is served for it', async () => {
    await place.keys(0, 'create', 'lab');
    place.letIn(readFileSync(join(place.store, 'lab.pub'), 'utf8'), 'dev');
    await place.keys(0, 'attach', 'lab', 'dev');
    const before = join(place.world.directory, 'before');
    cpSync(place.store, before, { recursive: true });
    const line = place.lines('dev').join('\n');
    const steps = await record(['rotate', 'lab']);
    const served = new Set<string>();
    for (let step = 1; step <= steps; step += 1) {
      const { blob, letIn } = await servedAt(step);
      assert.ok(blob !== undefined && letIn.some((one) => one.equals(blob)), `locked out at write ${step}`);
      served.add(blob.toString('base64'));
    }
    assert.equal(served.size, 2, 'the old key and then the new one');

    // And with a real SIGKILL: the next run finishes the rotation.
    for (const killAt of [0.2, 0.45, 0.7].map((part) => Math.round(part * steps))) {
      restore(before, place.store);
      place.letIn(line, 'dev');
      assert.equal((await run(['rotate', 'lab'], { KILL_AT: String(killAt) })).signal, 'SIGKILL');
      await place.keys(0, 'rotate', 'lab');
      const [record] = listKeys(place.store);
      assert.equal(record?.rotation, undefined);
      const blob = blobOfLine(readFileSync(join(place.store, 'lab.pub'), 'utf8').trim());
      assert.deepEqual(
        place.lines('dev').map((each) => blobOfLine(each)),
        [blob],
      );
      assert.ok(await place.opens('dev', join(place.store, 'lab')), `killed at write ${killAt}`);
    }
  });

  test('of attach, the store knows every VM that has the line', async () => {
    await place.keys(0, 'create', 'lab');
    await place.keys(0, 'create', 'other');
    const way = readFileSync(join(place.store, 'lab.pub'), 'utf8');
    place.letIn(way, 'dev');
    const line = blobOfLine(readFileSync(join(place.store, 'other.pub'), 'utf8').trim());
    const steps = await record(['attach', 'other', 'dev'], 5);
    for (let step = 1; step <= steps; step += 1) {
      const [store = '', remote = ''] = [0, 1].map((at) => join(copies, String(step), String(at)));
      const lines = readFileSync(join(remote, 'authorized_keys'), 'utf8').split('\n');
      const isThere = lines.some((each) => line !== undefined && blobOfLine(each)?.equals(line));
      const known = listKeys(store).find(({ name }) => name === 'other')?.machines.length;
      if (isThere) assert.equal(known, 1, `at write ${step}`);
    }
    await place.keys(0, 'attach', 'other', 'dev');
    assert.equal(place.lines('dev').length, 2);

    // And with a real SIGKILL: the next run ends what was begun, and detach leaves nothing of it.
    const from = join(place.world.directory, 'before-attach');
    await place.keys(0, 'detach', 'other', 'dev');
    cpSync(place.store, from, { recursive: true });
    for (const killAt of [0.2, 0.4, 0.6, 0.8, 1].map((part) => Math.round(part * steps))) {
      restore(from, place.store);
      place.letIn(way, 'dev');
      const { signal } = await run(['attach', 'other', 'dev'], { KILL_AT: String(killAt) });
      assert.equal(signal, 'SIGKILL');
      const isThere = place.lines('dev').length > 1;
      const known = listKeys(place.store).find(({ name }) => name === 'other')?.machines.length;
      if (isThere) assert.equal(known, 1, `killed at write ${killAt}`);
      await place.keys(0, 'attach', 'other', 'dev');
      assert.equal(place.lines('dev').length, 2, `killed at write ${killAt}`);
      assert.ok(await place.opens('dev', join(place.store, 'other')), `killed at write ${killAt}`);
      await place.keys(0, 'detach', 'other', 'dev');
      assert.deepEqual(place.lines('dev'), [way.trim()]);
    }
  });

  test('of migrate, the key is in its old place, or kept, or both, and the next run finishes it', async () => {
    const line = makeKey(older, 'cws-lab-us-east-1', '-t', 'ed25519');
    const originals = readDirectory(older);
    const kept = join(place.world.directory, 'originals');
    cpSync(older, kept, { recursive: true });
    place.letIn(line, 'dev');
    const words = ['migrate', '--from', older];
    const steps = await record(words);
    for (let step = 1; step <= steps; step += 1) {
      const { blob } = await servedAt(step);
      const left = readDirectory(join(copies, String(step), '2'));
      if (blob === undefined) assert.deepEqual(left, originals, `at write ${step}`);
      else assert.deepEqual(blob, blobOfLine(line));
    }
    for (const killAt of [0.5, 0.9].map((part) => Math.round(part * steps))) {
      rmSync(place.store, { recursive: true });
      restore(kept, older);
      assert.equal((await run(words, { KILL_AT: String(killAt) })).signal, 'SIGKILL');
      await place.keys(0, ...words);
      assert.deepEqual(readDirectory(older), []);
      assert.ok(await place.opens('dev', join(place.store, 'lab')), `killed at write ${killAt}`);
      assert.equal(listKeys(place.store).length, 1);
    }
  });
});

function restore(from: string, to: string): void {
  rmSync(to, { recursive: true });
  mkdirSync(to, { mode: 0o700 });
  cpSync(from, to, { recursive: true });
  // A copied directory gets the usual mode, and the store refuses one that is open to others.
  const own = join(to, '.mint-ssh');
  if (existsSync(own)) chmodSync(own, 0o700);
}
