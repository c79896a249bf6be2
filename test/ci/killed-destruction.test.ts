/** The holder is killed at each step of the destruction, and a reaper completes it. */
import assert from 'node:assert/strict';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { acquireLock, type Lock } from '../../src/platform/lock.ts';
import { demoRegion } from '../cloud/cloud.ts';
import { runningProcesses } from '../openssh/processes.ts';
import { type Child, mintProgram, type Result, waitFor } from '../openssh/world.ts';
import { libfaketime } from '../programs.ts';
import { type DebugWorld, makeDebugWorld } from './debug-world.ts';
import { type Dynamo, startDynamo } from './dynamo.ts';
import { type Gate, startGate } from './gate.ts';

/** On a machine whose clock shows this much more. */
function reap(debug: DebugWorld, words: readonly string[], later: string): Promise<Result> {
  return debug.world.run(mintProgram, ['debug', 'reap', '--json', ...words], {
    env: { LD_PRELOAD: libfaketime, FAKETIME: later },
    timeout: 90_000,
  });
}

/** The VMs whose leases the reapers ended, each once; all reapers have to end with 0. */
function reapedBy(...reapers: readonly Result[]): readonly string[] {
  const vms = reapers.flatMap(({ status, stdout, stderr }) => {
    assert.equal(status, 0, stderr);
    return (JSON.parse(stdout) as { readonly vm: string }[]).map(({ vm }) => vm);
  });
  return [...new Set(vms)].sort();
}

function isRunning({ pid }: Child): boolean {
  return runningProcesses().some((each) => each.pid === pid);
}

function isOpen({ world }: DebugWorld, job: string): boolean {
  return (world.file('jobs.json') ?? '').includes(`"${job}"`);
}

function hasBlock({ world }: DebugWorld, job: string): boolean {
  return new RegExp(`^Host ${job} `, 'm').test(world.file('ssh_config') ?? '');
}

function assertForgotten(debug: DebugWorld, job: string): void {
  assert.deepEqual([isOpen(debug, job), hasBlock(debug, job)], [false, false], job);
}

describe('a holder that is killed while it terminates an instance', { timeout: 300_000 }, () => {
  const leases = ['--leases', 'dynamodb:mint-leases'];
  let dynamo: Dynamo;
  let debug: DebugWorld;
  let table: Gate;
  let ec2: Gate;
  const locks: Lock[] = [];
  before(async () => {
    dynamo = await startDynamo();
    table = await startGate(dynamo.endpoint);
    debug = await makeDebugWorld({ environment: { AWS_ENDPOINT_URL_DYNAMODB: table.endpoint } });
    ec2 = await startGate(debug.world.cloud.endpoint);
    await dynamo.makeTable('mint-leases');
  });
  after(async () => {
    for (const lock of locks) lock.release();
    await debug.end();
    for (const each of [table, ec2, dynamo]) await each.close();
  });

  const agent = () => debug.world.agents()[0]?.pid ?? 0;
  const lock = (name: string): void => {
    const taken = acquireLock(join(debug.world.configDir, 'run', name), { waitMilliseconds: 5000 });
    if (taken !== undefined) locks.push(taken);
  };
  const isTerminated = (instance: string) =>
    waitFor('the instance to be terminated', 20_000, () => stateOf(instance) === 'terminated');
  const hasNoBlock = (name: string) => waitFor('the block to go', 20_000, () => !hasBlock(debug, name));
  const stateOf = (instance: string) => debug.world.cloud.instances.get(instance)?.state;

  /** All steps at which a destruction waits, in order; each returns a promise that resolves when it waits there. */
  const waits: Readonly<Record<string, (name: string, instance: string) => Promise<unknown>>> = {
    'before-end': (_, word) => ec2.stop({ operation: 'TerminateInstances', word, isDone: false }),
    ended: (_, word) => ec2.stop({ operation: 'TerminateInstances', word, isDone: true }),
    'before-block': async (_, word) => {
      lock('job-blocks.lock');
      await isTerminated(word);
    },
    'before-forget': async (name) => {
      process.kill(agent(), 'SIGSTOP');
      await hasNoBlock(name);
    },
    forgotten: async (name) => {
      process.kill(agent(), 'SIGSTOP');
      await hasNoBlock(name);
      lock('job-blocks.lock');
      process.kill(agent(), 'SIGCONT');
      await waitFor('the job to end', 20_000, () => !isOpen(debug, name));
    },
    'before-close': (name) => table.stop({ operation: 'PutItem', word: `leases#${name}`, isDone: false }),
    closed: (name) => table.stop({ operation: 'PutItem', word: `leases#${name}`, isDone: true }),
  };
  const names = Object.keys(waits);
  const ids = new Map<string, string>();
  const idOf = (name: string) => ids.get(name) ?? 'none';
  const instanceOf = (name: string) =>
    `i-0123456789abcde${names.indexOf(name).toString(16).padStart(2, '0')}`;

  async function openAndHold(name: string): Promise<Child> {
    const id = instanceOf(name);
    debug.world.cloud.instances.set(id, { id, region: demoRegion, state: 'running', address: '127.0.0.1' });
    await debug.begin(name);
    const words = ['--project', name, '--instance', id, '--print-key', '--format', 'json', '--ttl', '10m'];
    const holder = debug.world.start(mintProgram, ['debug', 'open', name, ...words, ...leases], {
      env: { AWS_ENDPOINT_URL_EC2: ec2.endpoint },
      timeout: 300_000,
    });
    ids.set(name, (await debug.block(holder)).lease);
    return holder;
  }

  test('leaves a lease, at every step', async () => {
    const holders: Child[] = [];
    for (const name of names) holders.push(await openAndHold(name));
    for (const name of names) assert.ok(hasBlock(debug, name));
    for (const [index, name] of names.entries()) {
      const holder = holders[index] as Child;
      const waiting = waits[name]?.(name, instanceOf(name));
      process.kill(holder.pid, 'SIGTERM');
      await waiting;
      holder.kill('SIGKILL');
      await holder.done;
      if (name === 'before-forget') {
        process.kill(agent(), 'SIGCONT');
        // What the holder had asked for is answered now, and not while the next one removes its block.
        await debug.world.mint('job', 'list');
      }
      for (const each of locks.splice(0)) each.release();
    }
    const { stdout } = await debug.world.mint('debug', 'list', '--json', ...leases);
    const open = (JSON.parse(stdout) as { readonly vm: string }[]).map(({ vm }) => vm);
    assert.deepEqual(open.sort(), names.filter((name) => name !== 'closed').sort());
    const running = names.filter((name) => stateOf(instanceOf(name)) === 'running');
    assert.deepEqual(running, ['before-end']);
  });

  test('is followed by a reaper when its time is over, and not before', async () => {
    assert.deepEqual(reapedBy(await reap(debug, leases, '+8m')), []);
    const [one, other] = await Promise.all([reap(debug, leases, '+13m'), reap(debug, leases, '+13m')]);
    assert.deepEqual(reapedBy(one, other), names.filter((name) => name !== 'closed').sort());
    for (const name of names) {
      assert.equal(stateOf(instanceOf(name)), 'terminated', name);
      assertForgotten(debug, name);
      const events = debug
        .audit()
        .filter(({ lease, event }) => lease === idOf(name) && event !== 'debug-granted');
      assert.ok(events.length >= 1, `the audit log does not say what became of ${name}`);
    }
    for (const { key, record } of await dynamo.items('mint-leases')) {
      assert.match(record?.S ?? '', /"leases":\[\]/, `${key?.S} is free`);
    }
    assert.deepEqual(reapedBy(await reap(debug, leases, '+30m')), []);
  });
});

describe('a holder that is killed while a command destroys the VM', { timeout: 300_000 }, () => {
  let debug: DebugWorld;
  before(async () => {
    debug = await makeDebugWorld();
  });
  after(() => debug.end());

  test('is followed by a reaper, before the command was done and after', async () => {
    const at = (name: string, word: string) => join(debug.machines, `${name}-${word}`);
    const names = ['running', 'done'];
    const holders = await Promise.all(
      names.map(async (name) => {
        const vm = await debug.begin(name);
        const wait = `: >'${at(name, 'begun')}'; while [ ! -e '${at(name, 'go')}' ]; do sleep 0.1; done`;
        const destroy = `${debug.destroy.replace(/^command:/, `command:${wait}; `)}`;
        const holder = debug.open(name, name, '--ttl', '10m', '--destroy', destroy);
        await debug.block(holder);
        return { name, holder, vm };
      }),
    );
    for (const { name, holder, vm } of holders) {
      process.kill(holder.pid, 'SIGTERM');
      await waitFor('the command', 20_000, () => existsSync(at(name, 'begun')));
      if (name === 'running') {
        // The command continues, with the holder's open files.
        holder.kill('SIGKILL');
        await waitFor('the holder to end', 20_000, () => !isRunning(holder));
        continue;
      }
      // The store may be unavailable when the command has ended.
      const lock = acquireLock(join(debug.world.configDir, 'leases', '.lock'), { waitMilliseconds: 5000 });
      assert.ok(lock !== undefined);
      writeFileSync(at(name, 'go'), '');
      await waitFor('the VM and its job to end', 20_000, () => vm.isOff() && !isOpen(debug, name));
      holder.kill('SIGKILL');
      await holder.done;
      lock.release();
    }
    const command = ['--destroy', debug.destroy];
    assert.deepEqual(reapedBy(await reap(debug, command, '+8m')), []);
    const both = await Promise.all([reap(debug, command, '+13m'), reap(debug, command, '+13m')]);
    assert.deepEqual(reapedBy(...both), [...names].sort());
    for (const { name, vm } of holders) {
      assert.ok(vm.isOff(), name);
      assertForgotten(debug, name);
    }
    assert.deepEqual(reapedBy(await reap(debug, command, '+30m')), []);
    // The started command continues without its holder, and does no harm.
    const before = debug.destroyed().length;
    writeFileSync(at('running', 'go'), '');
    await waitFor('the first command to end', 20_000, () => debug.destroyed().length === before + 1);
  });
});
