/**
 * Every call to the store of leases fails in every way, at each step of debug access. Where EC2 answers, the instance is
 * terminated by its time and five minutes more: by the holder, which needs no store for that, by what is armed on the VM,
 * or by the next reaper that reaches the store. A store that fails ends nothing early, and opens nothing.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { demoRegion } from '../../src/demo/cloud.ts';
import { acquireLock } from '../../src/platform/lock.ts';
import { type Child, mintProgram, type Result, waitFor } from '../openssh/world.ts';
import { libfaketime } from '../programs.ts';
import { type Block, type DebugWorld, makeDebugWorld } from './debug-world.ts';
import { type Dynamo, startDynamo } from './dynamo.ts';
import { type FaultyDoor, faults, startFaultyDoor } from './faulty-door.ts';
import type { JobVm } from './job-vm.ts';

const table = ['--leases', 'dynamodb:mint-leases'];
/** Longer than the holder needs to look into its store. */
const lookMs = 4_500;

interface Held {
  readonly name: string;
  readonly vm: JobVm;
  readonly holder: Child;
  readonly block: Block;
  readonly instance: string;
}

/** Instances of the stand-in, each with an ID of its own. */
function instancesOf(debug: () => DebugWorld) {
  let count = 0;
  const state = (id: string) => debug().world.cloud.instances.get(id)?.state;
  return {
    state,
    launch(): string {
      count += 1;
      const id = `i-0123456789abcd${String(count).padStart(3, '0')}`;
      debug().world.cloud.instances.set(id, {
        id,
        region: demoRegion,
        state: 'running',
        address: '127.0.0.1',
      });
      return id;
    },
    isTerminated: (id: string) => waitFor(`${id} to be terminated`, 60_000, () => state(id) === 'terminated'),
  };
}

/** On a machine whose clock shows more. */
function reap(debug: DebugWorld, words: readonly string[], later: string, env: Record<string, string> = {}) {
  return debug.world.run(mintProgram, ['debug', 'reap', '--json', ...words], {
    env: { LD_PRELOAD: libfaketime, FAKETIME: later, ...env },
    timeout: 90_000,
  });
}

function assertPlain({ stderr }: Pick<Result, 'stderr'>): void {
  assert.doesNotMatch(stderr, /internal error|\bat .*\.ts:\d/);
}

describe('a DynamoDB table that fails', { timeout: 400_000 }, () => {
  let dynamo: Dynamo;
  let debug: DebugWorld;
  const doors = new Map<string, FaultyDoor>();
  const ec2 = instancesOf(() => debug);

  before(async () => {
    dynamo = await startDynamo();
    await dynamo.makeTable('mint-leases');
    debug = await makeDebugWorld({ environment: { AWS_ENDPOINT_URL_DYNAMODB: dynamo.endpoint } });
  });
  after(async () => {
    await debug.end();
    for (const door of doors.values()) await door.close();
    await dynamo.close();
  });

  async function doorOf(name: string): Promise<FaultyDoor> {
    const door = doors.get(name) ?? (await startFaultyDoor(dynamo.endpoint));
    doors.set(name, door);
    return door;
  }

  async function start(name: string, ...words: readonly string[]) {
    const vm = await debug.begin(name);
    const instance = ec2.launch();
    const { endpoint } = await doorOf(name);
    const all = [
      '--project',
      name,
      '--instance',
      instance,
      '--print-key',
      '--format',
      'json',
      ...table,
      ...words,
    ];
    const holder = debug.world.start(mintProgram, ['debug', 'open', name, ...all], {
      env: { AWS_ENDPOINT_URL_DYNAMODB: endpoint },
      timeout: 200_000,
    });
    return { name, vm, holder, instance };
  }

  async function hold(name: string, ...words: readonly string[]): Promise<Held> {
    const started = await start(name, ...words);
    return { ...started, block: await debug.block(started.holder) };
  }

  test('at open: no end is armed and no key is authorized', async () => {
    for (const fault of faults.filter((each) => each !== 'empty')) {
      const name = `open-${fault}`;
      (await doorOf(name)).fault = fault;
      const { vm, holder } = await start(name);
      const result = await holder.done;
      assert.equal(result.status, 1, result.stderr);
      assert.match(result.stderr, /error: .* \((?:aws-unreachable|aws-denied|aws-throttled)\)/, fault);
      assertPlain(result);
      assert.deepEqual([vm.isArmed(), vm.authorizedKeys().length, result.stdout], [false, 1, ''], fault);
    }
  });

  test('at open: it opens with a store that returns empty answers, and the holder still ends it', async () => {
    (await doorOf('open-empty')).fault = 'empty';
    const { holder, instance, block } = await hold('open-empty', '--ttl', '3s');
    const { status, stderr } = await holder.done;
    assert.equal(status, 0, stderr);
    assert.equal(ec2.state(instance), 'terminated');
    assert.ok(Date.now() >= Date.parse(block.ends_at), 'not before its time');
  });

  test('while it is held: neither a failure nor a missing lease ends it, but the time does', async () => {
    const { holder, instance, block } = await hold('hold', '--ttl', '60s');
    const door = await doorOf('hold');
    for (const fault of faults) {
      const { failed } = door;
      door.fault = fault;
      await waitFor(`the holder to meet ${fault}`, 20_000, () => door.failed > failed);
      await sleep(500);
      assert.equal(ec2.state(instance), 'running', `${fault} has destroyed the VM under the person inside`);
    }
    door.fault = undefined;
    await dynamo.put('mint-leases', {
      key: { S: 'leases#hold' },
      record: { S: '{"version":1,"leases":[]}' },
      revision: { S: 'deleted' },
    });
    await sleep(lookMs);
    assert.equal(ec2.state(instance), 'running', 'a lease that was deleted');
    assert.ok(Date.now() < Date.parse(block.ends_at), 'the test was too slow to show anything');
    const { status, stderr } = await holder.done;
    assert.equal(status, 0, stderr);
    assert.equal(ec2.state(instance), 'terminated');
  });

  test('at the end: the instance is terminated, even if the lease cannot be closed', async () => {
    for (const fault of [...faults, 'deleted', 'damaged'] as const) {
      const { holder, instance, name } = await hold(`end-${fault}`);
      const door = await doorOf(name);
      const record = (text: string) =>
        dynamo.put('mint-leases', {
          key: { S: `leases#${name}` },
          record: { S: text },
          revision: { S: 'x' },
        });
      if (fault === 'deleted') await record('{"version":1,"leases":[]}');
      else if (fault === 'damaged') await record('{');
      else door.fault = fault;
      process.kill(holder.pid, 'SIGTERM');
      await ec2.isTerminated(instance);
      const result = await holder.done;
      assert.equal(result.status, 0, `${fault}: ${result.stderr}`);
      assertPlain(result);
      if (fault === 'damaged') await record('{"version":1,"leases":[]}');
      if (fault === 'empty' || fault === 'deleted') continue;
      assert.match(
        result.stderr,
        new RegExp(`note: ${name} is destroyed, but its lease .* could not be removed`),
        fault,
      );
    }
  });

  test('at `debug end`: an instance is terminated although its holder cannot be notified', async () => {
    const { holder, instance, block, name } = await hold('told');
    const readOnly = await startFaultyDoor(dynamo.endpoint);
    doors.set('read-only', readOnly);
    // The table can be read; a moment later it cannot be written.
    const ending = debug.world.run(mintProgram, ['debug', 'end', block.lease, ...table], {
      env: { AWS_ENDPOINT_URL_DYNAMODB: readOnly.endpoint },
      timeout: 90_000,
    });
    const { operations } = dynamo;
    const from = operations.length;
    await waitFor('the scan', 20_000, () => operations.slice(from).includes('Scan'));
    readOnly.fault = 'denied';
    const result = await ending;
    assertPlain(result);
    await ec2.isTerminated(instance);
    assert.equal((await holder.done).status, 0, name);
  });

  test('at reap: a later run finds everything after a failure, and the armed end needs no store', async () => {
    const { holder, instance, vm, name } = await hold('reap', '--ttl', '10m');
    holder.kill('SIGKILL');
    await holder.done;
    const door = await doorOf(name);
    const env = { AWS_ENDPOINT_URL_DYNAMODB: door.endpoint };
    for (const fault of faults) {
      door.fault = fault;
      const result = await reap(debug, table, '+13m', env);
      assert.notEqual(result.status, 0, `${fault}: ${result.stderr}`);
      assert.match(result.stderr, /\((?:aws-unreachable|aws-denied|aws-throttled)\)/, fault);
      assertPlain(result);
      assert.equal(ec2.state(instance), 'running');
    }
    assert.ok(vm.isArmed());
    vm.letTimePass();
    await waitFor('the VM to turn itself off', 20_000, () => vm.isOff());
    assert.equal(debug.world.cloud.instances.get(instance)?.shutdownBehaviour, 'terminate');
    door.fault = undefined;
    const result = await reap(debug, table, '+13m', env);
    assert.equal(result.status, 0, result.stderr);
    assert.equal(ec2.state(instance), 'terminated');
  });
});

describe('leases in files that fail', { timeout: 400_000 }, () => {
  let debug: DebugWorld;
  const ec2 = instancesOf(() => debug);
  before(async () => {
    debug = await makeDebugWorld();
  });
  after(() => debug.end());

  const directory = () => join(debug.world.configDir, 'leases');
  const file = (project: string) => join(directory(), `${project}.json`);

  /** Each makes the store fail in its way for one project, and gives what ends that. */
  const breakages: Readonly<Record<string, (project: string) => () => void>> = {
    // Like a missing disk.
    reset() {
      renameSync(directory(), `${directory()}-aside`);
      writeFileSync(directory(), '');
      return () => {
        rmSync(directory());
        renameSync(`${directory()}-aside`, directory());
      };
    },
    denied() {
      chmodSync(directory(), 0o777);
      return () => chmodSync(directory(), 0o700);
    },
    // Another process holds the lock longer than the time limit.
    throttled() {
      const lock = acquireLock(join(directory(), '.lock'), { waitMilliseconds: 5_000 });
      assert.ok(lock !== undefined);
      return () => lock.release();
    },
    empty(project) {
      const before = existsSync(file(project)) ? readFileSync(file(project)) : undefined;
      writeFileSync(file(project), '', { mode: 0o600 });
      return () => (before === undefined ? rmSync(file(project)) : writeFileSync(file(project), before));
    },
  };

  async function start(name: string, ...words: readonly string[]) {
    const vm = await debug.begin(name);
    const instance = ec2.launch();
    const all = ['--project', name, '--instance', instance, '--print-key', '--format', 'json', ...words];
    const holder = debug.world.start(mintProgram, ['debug', 'open', name, ...all], { timeout: 200_000 });
    return { name, vm, holder, instance };
  }

  async function hold(name: string, ...words: readonly string[]): Promise<Held> {
    const started = await start(name, ...words);
    return { ...started, block: await debug.block(started.holder) };
  }

  test('at open: no end is armed and no key is authorized', async () => {
    mkdirSync(directory(), { recursive: true, mode: 0o700 });
    for (const [fault, make] of Object.entries(breakages)) {
      const name = `open-${fault}`;
      const repair = make(name);
      try {
        const { vm, holder } = await start(name);
        const result = await holder.done;
        assert.ok([1, 3].includes(result.status ?? 0), `${fault}: ${result.stderr}`);
        assertPlain(result);
        assert.deepEqual([vm.isArmed(), vm.authorizedKeys().length, result.stdout], [false, 1, ''], fault);
      } finally {
        repair();
      }
    }
  });

  test('while it is held: neither a failure nor a missing lease ends it', async () => {
    const { holder, instance, name } = await hold('hold');
    for (const make of Object.values(breakages)) {
      const repair = make(name);
      await sleep(lookMs);
      repair();
      assert.equal(ec2.state(instance), 'running');
    }
    rmSync(file(name));
    await sleep(lookMs);
    assert.equal(ec2.state(instance), 'running');
    process.kill(holder.pid, 'SIGTERM');
    assert.equal((await holder.done).status, 0);
    assert.equal(ec2.state(instance), 'terminated');
  });

  test('at the end: the instance is terminated, also where nothing can be written any more', async () => {
    for (const [fault, make] of Object.entries({
      ...breakages,
      deleted: (project: string) => {
        rmSync(file(project));
        return () => {};
      },
      full: () => () => {},
    })) {
      const { holder, instance, name } = await hold(`end-${fault}`);
      const repair = make(name);
      // A full disk, for this process: no file may have a byte.
      if (fault === 'full') {
        const { status } = spawnSync('prlimit', ['--pid', String(holder.pid), '--fsize=0:0']);
        assert.equal(status, 0);
      }
      process.kill(holder.pid, 'SIGTERM');
      await ec2.isTerminated(instance);
      const result = await holder.done;
      repair();
      assert.equal(result.status, 0, `${fault}: ${result.stderr}`);
      assertPlain(result);
    }
  });

  test('at reap: a failure is reported, and a later run finds everything', async () => {
    const { holder, instance, name, vm } = await hold('reap', '--ttl', '10m');
    holder.kill('SIGKILL');
    await holder.done;
    for (const [fault, make] of Object.entries(breakages)) {
      const repair = make(name);
      const result = await reap(debug, [], '+13m');
      repair();
      assert.notEqual(result.status, 0, `${fault}: ${result.stderr}`);
      assertPlain(result);
      assert.equal(ec2.state(instance), 'running');
    }
    assert.ok(vm.isArmed());
    // This also closes the leases that the tests above could not close.
    const result = await reap(debug, [], '+40m');
    assert.equal(result.status, 0, result.stderr);
    assert.equal(ec2.state(instance), 'terminated');
    const listed = await debug.world.mint('debug', 'list', '--json');
    assert.deepEqual(JSON.parse(listed.stdout), []);
  });
});
