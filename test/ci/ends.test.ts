/** How debug access ends, and how the end is armed on the VM. */
import assert from 'node:assert/strict';
import { statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { demoRegion } from '../cloud/cloud.ts';
import { mintProgram, waitFor } from '../openssh/world.ts';
import { type DebugWorld, makeDebugWorld } from './debug-world.ts';

describe('the end of debug access', { timeout: 300_000 }, () => {
  let debug: DebugWorld;
  before(async () => {
    debug = await makeDebugWorld();
  });
  after(() => debug.end());

  const leases = async () =>
    JSON.parse((await debug.world.mint('debug', 'list', '--json')).stdout) as { readonly vm: string }[];

  test('a visitor who turns the instance off ends it at once', async () => {
    const { world } = debug;
    const vm = await debug.begin('build-8');
    const id = 'i-0123456789abcdef8';
    const there = { id, region: demoRegion, address: '127.0.0.1' };
    world.cloud.instances.set(id, { ...there, state: 'running' });
    const holder = debug.open('build-8', 'web', '--instance', id, '--destroy', 'terminate');
    await debug.block(holder);
    world.cloud.instances.set(id, { ...there, state: 'shutting-down' });
    vm.powerOff();
    const { status, stderr } = await holder.done;
    assert.equal(status, 0, stderr);
    assert.equal(world.cloud.instances.get(id)?.state, 'terminated');
    assert.deepEqual(await leases(), []);
  });

  test('shutdown arms the end without systemd, the end command without both; both work with sudo', async () => {
    const { world } = debug;
    for (const [name, mode, words, by] of [
      ['build-4', 'shutdown', ['--ttl', '90s'], 'shutdown'],
      [
        'build-5',
        'none',
        ['--ttl', '90s', '--end-command', `echo "it's $0 over" >"$HOME/over"`],
        'end-command',
      ],
    ] as const) {
      const vm = await debug.begin(name);
      vm.setMode(mode);
      vm.setUser('sudoer');
      const holder = debug.open(name, name, ...words);
      const block = await debug.block(holder);
      assert.equal(block.armed_by, by);
      assert.ok(vm.calls().some((call) => call === 'sudo -n true'));
      if (mode === 'shutdown') {
        // It counts in minutes, which are short in this test.
        assert.ok(vm.calls().includes('shutdown -P +2'), vm.calls().join('\n'));
        await waitFor('the VM to shut down', 30_000, () => vm.isOff());
      }
      const ended = await world.run(mintProgram, ['debug', 'end', block.lease], { timeout: 90_000 });
      assert.equal(ended.status, 0, ended.stderr);
      await holder.done;
    }
  });

  test('when the time is over the holder destroys the VM, and the keys have expired even if that failed', async () => {
    const vm = await debug.begin('build-6');
    vm.setMode('none');
    const over = join(vm.home, 'over');
    const words = ['--ttl', '12s', '--end-command', `: >'${over}'`, '--destroy', 'command:true'];
    const begin = Date.now();
    const holder = debug.open('build-6', 'web', ...words);
    const block = await debug.block(holder);
    assert.equal((await debug.person(block, 'true')).status, 0);
    assert.equal((await holder.done).status, 0);
    assert.ok(Date.now() - begin >= 12_000, 'it ended before its time');
    assert.ok(Date.parse(block.ends_at) <= Date.now());
    await waitFor(
      'the command that was armed',
      20_000,
      () => statSync(over, { throwIfNoEntry: false }) !== undefined,
    );
    assert.ok(!vm.isOff());
    const late = await debug.person(block, 'true');
    assert.equal(late.status, 255);
    assert.match(late.stderr, /Permission denied/);
  });

  test('a failed destruction leaves the lease for the reaper, and prints an error', async () => {
    const { world } = debug;
    const vm = await debug.begin('build-7');
    const switched = join(debug.machines, 'works');
    const holder = debug.open(
      'build-7',
      'web',
      '--destroy',
      `command:[ -e '${switched}' ] || exit 1; ${debug.destroy.slice(8)}`,
    );
    const block = await debug.block(holder);
    process.kill(holder.pid, 'SIGTERM');
    await holder.until(
      /build-7 is not destroyed yet: the command that destroys build-7 ended with 1 \(io-failed\)/,
    );
    assert.deepEqual(
      (await leases()).map((lease) => lease.vm),
      ['build-7'],
    );
    writeFileSync(switched, '');
    assert.equal((await holder.done).status, 0);
    assert.ok(vm.isOff());
    assert.deepEqual(await leases(), []);
    assert.match(block.lease, /^[0-9a-f]{12}$/);
    assert.equal((await world.mint('debug', 'reap')).status, 0);
  });
});
