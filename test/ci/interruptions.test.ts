/**
 * The holder, the agent, or both are killed at each step. Access always ends in time, by the end that is armed on the VM
 * or by a reaper, and no key is ever authorized without an armed end.
 */
import assert from 'node:assert/strict';
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { type Child, mintProgram, type Result, waitFor } from '../openssh/world.ts';
import { libfaketime } from '../programs.ts';
import { type DebugWorld, makeDebugWorld } from './debug-world.ts';
import type { JobVm } from './job-vm.ts';

/** In the order in which they come: a step is reached when the VM shows it. */
const steps = ['arming', 'armed', 'letting in', 'open'] as const;
type Step = (typeof steps)[number];

interface Case {
  readonly name: string;
  readonly step: Step;
  readonly vm: JobVm;
  readonly holder: Child;
}

for (const killed of ['holder', 'agent', 'both'] as const) {
  describe(`debug access whose ${killed === 'both' ? 'holder and agent are' : `${killed} is`} killed`, {
    timeout: 180_000,
  }, () => {
    let debug: DebugWorld;
    let cases: Case[];

    before(async () => {
      debug = await makeDebugWorld();
      cases = await Promise.all(
        steps.map(async (step) => {
          const name = step.replace(' ', '-');
          const vm = await debug.begin(name);
          stopAt(vm, step);
          const holder = debug.open(name, name, '--ttl', '10m');
          await reached(vm, step, holder);
          return { name, step, vm, holder };
        }),
      );
      if (killed !== 'holder') for (const { pid } of debug.world.agents()) process.kill(pid, 'SIGKILL');
      if (killed !== 'agent') for (const { holder } of cases) holder.kill('SIGKILL');
      await Promise.all(killed === 'agent' ? [] : cases.map(({ holder }) => holder.done));
      for (const { vm, step } of cases) goOn(vm, step);
    });
    after(() => debug.end());

    /** On a machine whose clock shows this much more. */
    const reap = (later: string): Promise<Result> =>
      debug.world.run(mintProgram, ['debug', 'reap', '--json', '--destroy', debug.destroy], {
        env: { LD_PRELOAD: libfaketime, FAKETIME: later },
        timeout: 90_000,
      });

    if (killed === 'agent') {
      test('the holder destroys a VM that it cannot open, and ends an open one in time', async () => {
        for (const { name, step, vm, holder } of cases) {
          // The holder no longer needs the agent: it holds the VM, and authorized visitors may log in.
          if (step === 'open' || step === 'letting in') {
            const { lease } = await debug.block(holder);
            const ended = await debug.world.run(mintProgram, ['debug', 'end', lease], { timeout: 90_000 });
            assert.equal(ended.status, 0, ended.stderr);
          }
          await holder.done;
          assert.ok(vm.isOff(), `${name} still runs`);
        }
        assert.deepEqual(debug.destroyed().sort(), cases.map(({ name }) => name).sort(), 'each once');
        assert.deepEqual(JSON.parse((await reap('+1h')).stdout), []);
      });
      return;
    }

    test('the armed end turns the VM off in time if a key was or may have been authorized', async () => {
      for (const { vm, step } of cases) {
        assert.ok(!vm.isOff());
        // A key on the VM without an armed end must never occur.
        if (vm.authorizedKeys().some((line) => line.startsWith('restrict'))) assert.ok(vm.isArmed());
        if (step === 'arming') continue;
        assert.ok(vm.isArmed(), `nothing is armed at ${step}`);
        vm.letTimePass();
        await waitFor(`the VM to end itself at ${step}`, 20_000, () => vm.isOff());
      }
    });

    test('until the time is over, the project is not free and a reaper destroys nothing', async () => {
      const early = await reap('+11m');
      assert.deepEqual([early.status, JSON.parse(early.stdout)], [0, []], early.stderr);
      assert.deepEqual(debug.destroyed(), []);
      // The job is lost with the agent; a new one wants the same project.
      if (killed === 'both') return;
      const words = [
        'debug',
        'open',
        'open',
        '--project',
        'armed',
        '--print-key',
        '--destroy',
        debug.destroy,
      ];
      const other = await debug.world.mint(...words);
      assert.match(other.stderr, /\(debug-limit\)/);
    });

    test('reapers destroy the VM afterwards, several of them at the same time', async () => {
      const both = await Promise.all([reap('+13m'), reap('+14m')]);
      for (const { status, stderr } of both) assert.equal(status, 0, stderr);
      const reaped = both.flatMap(({ stdout }) => JSON.parse(stdout) as { readonly vm: string }[]);
      assert.deepEqual([...new Set(reaped.map(({ vm }) => vm))].sort(), cases.map(({ name }) => name).sort());
      assert.deepEqual(JSON.parse((await reap('+15m')).stdout), []);
      assert.deepEqual([...new Set(debug.destroyed())].sort(), cases.map(({ name }) => name).sort());
      for (const { vm, name } of cases) assert.ok(vm.isOff(), `${name} still runs`);
      const events = debug.audit().filter(({ event }) => event === 'debug-reaped');
      assert.ok(events.length >= cases.length);
      assert.equal(
        debug.world.file('jobs.json')?.includes('"open"'),
        false,
        'the jobs are ended with their VMs',
      );
    });
  });
}

describe('a VM whose holder is killed', { timeout: 300_000 }, () => {
  let debug: DebugWorld;
  before(async () => {
    debug = await makeDebugWorld();
  });
  after(() => debug.end());

  test('ends by its own timer, with the visitor’s session', async () => {
    const vm = await debug.begin('timed');
    const begin = Date.now();
    const holder = debug.open('timed', 'web', '--ttl', '15s');
    const block = await debug.block(holder);
    holder.kill('SIGKILL');
    const inside = debug.person(block, 'echo in; sleep 300');
    await waitFor('the VM to end itself', 40_000, () => vm.isOff());
    assert.ok(Date.now() - begin >= 14_000, 'before its time');
    const { status, stdout } = await inside;
    assert.equal(stdout, 'in\n');
    assert.notEqual(status, 0);
  });
});

/** Where the VM waits. */
function stopAt(vm: JobVm, step: Step): void {
  if (step === 'arming') vm.hang('stuck');
  if (step === 'armed') vm.hang('slow');
  // As if another command were changing authorized_keys.
  if (step === 'letting in') mkdirSync(join(vm.home, '.ssh', '.authorized_keys.lock'));
}

async function reached(vm: JobVm, step: Step, holder: Child): Promise<void> {
  const called = (word: string) => vm.calls().some((call) => call.startsWith(word));
  if (step === 'arming') return void (await waitFor('it to be armed', 60_000, () => called('systemd-run')));
  if (step === 'armed')
    return void (await waitFor('it to be armed', 60_000, () => called('systemctl is-active')));
  if (step === 'open') return void (await holder.until(/^\{"lease".*\}$/m, 60_000));
  // The first login arms the end, the second authorizes the keys.
  await waitFor('the second session', 60_000, () => vm.isArmed() && vm.sshd.accepted() >= 2);
}

function goOn(vm: JobVm, step: Step): void {
  vm.hang(undefined);
  if (step === 'letting in') rmSync(join(vm.home, '.ssh', '.authorized_keys.lock'), { recursive: true });
}
