/** Refusals come before any change: no lease, no armed end, no authorized key. */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { demoRegion } from '../cloud/cloud.ts';
import { type DebugWorld, makeDebugWorld } from './debug-world.ts';
import type { JobVm } from './job-vm.ts';

const instance = 'i-0123456789abcdef0';

describe('debug access is refused', { timeout: 300_000 }, () => {
  let debug: DebugWorld;
  let vm: JobVm;
  before(async () => {
    debug = await makeDebugWorld();
    vm = await debug.begin('build');
  });
  after(() => debug.end());

  const openFiles = () => {
    const directory = join(debug.world.configDir, 'leases');
    return existsSync(directory)
      ? readdirSync(directory, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.json'))
      : [];
  };

  /** Valid options, overridden by `words`. */
  async function refused(code: string, status: number, ...words: readonly string[]): Promise<string> {
    const lines = vm.authorizedKeys();
    const accepted = vm.sshd.accepted();
    const right = ['--project', 'web', '--authorize', `${debug.personKey}.pub`, '--destroy', debug.destroy];
    const [name = 'build', ...options] = words;
    const result = await debug.world.mint('debug', 'open', name, ...right, ...options);
    assert.match(result.stderr, new RegExp(`^mint-ssh: error: .* \\(${code}\\)$`, 'm'));
    assert.deepEqual([result.status, result.stdout], [status, '']);
    assert.deepEqual(vm.authorizedKeys(), lines);
    assert.deepEqual(openFiles(), []);
    assert.deepEqual(debug.destroyed(), []);
    assert.ok(!vm.isArmed() && !vm.isOff());
    if (code === 'usage') assert.equal(vm.sshd.accepted(), accepted, 'no login was made');
    return result.stderr;
  }

  test('for an invalid time, or one longer than half an hour', async () => {
    for (const ttl of ['31m', '1801s', '0', '0m', '1h', '-5m', '', '30', '5m ', '１m']) {
      await refused('usage', 2, 'build', `--ttl=${ttl}`);
    }
  });

  test('for an unknown way to destroy the VM, and for one that cannot be carried out', async () => {
    for (const destroy of ['explode', 'command:', 'command: ', 'Terminate', 'terminate', 'stop']) {
      await refused('usage', 2, 'build', '--destroy', destroy);
    }
    await refused('usage', 2, 'build', '--destroy', 'terminate', '--instance', 'i-1; reboot');
    await refused('vm-not-found', 1, 'build', '--destroy', 'terminate', '--instance', instance);
    const there = { id: instance, region: demoRegion, state: 'stopped', address: '127.0.0.1' } as const;
    debug.world.cloud.instances.set(instance, there);
    await refused('vm-not-running', 1, 'build', '--destroy', 'terminate', '--instance', instance);
    debug.world.cloud.instances.set(instance, { ...there, state: 'running', publicIp: '203.0.113.7' });
    const elsewhere = await refused('usage', 2, 'build', '--destroy', 'terminate', '--instance', instance);
    assert.match(
      elsewhere,
      /the job build has the address 127\.0\.0\.1, but i-0123456789abcdef0 has 203\.0\.113\.7/,
    );
    debug.world.cloud.instances.set(instance, { ...there, state: 'running' });
    debug.world.cloud.accessKeys.forEach((key, id) => {
      debug.world.cloud.accessKeys.set(id, { ...key, denied: ['ec2:ModifyInstanceAttribute'] });
    });
    const told = await refused('aws-denied', 1, 'build', '--destroy', 'terminate', '--instance', instance);
    assert.match(told, /allow ec2:ModifyInstanceAttribute/);
  });

  test('for a key with options, a private key, a damaged one, and none at all', async () => {
    const put = (name: string, text: string) => {
      writeFileSync(join(debug.world.directory, name), text);
      return join(debug.world.directory, name);
    };
    const blob = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl';
    const withOptions = put('options', `# mine\n${blob}\ncommand="sh" ${blob}\n`);
    await refused('key-options', 1, 'build', '--authorize', withOptions);
    await refused('key-private', 1, 'build', '--authorize', debug.personKey);
    await refused('key-invalid', 1, 'build', '--authorize', put('damaged', `${blob.slice(0, -4)}\n`));
    await refused('key-invalid', 1, 'build', '--authorize', put('empty', '# nobody\n'));
    await refused('key-invalid', 1, 'build', '--authorize', put('many', `${`${blob}\n`.repeat(60)}`));
    await refused('io-failed', 1, 'build', '--authorize', join(debug.world.directory, 'missing'));
    await refused('usage', 2, 'build', '--print-key');
  });

  test('for a project whose name could be a path, a line or an option', async () => {
    for (const project of ['a/b', '../x', 'a\nb', '', '.', '-x', 'a b', 'ä', '%2e', 'x'.repeat(64)]) {
      await refused('usage', 2, 'build', `--project=${project}`);
    }
  });

  test('for a VM without a job, and for a job without a VM', async () => {
    await refused('job-not-found', 1, 'other');
    await refused('bad-vm-name', 2, '../build');
    await debug.world.mint('job', 'begin', 'young');
    await refused('usage', 2, 'young');
    await debug.world.mint('job', 'end', 'young');
  });

  test('without the right to arm the end', async () => {
    vm.setUser('nobody');
    const told = await refused('debug-unarmed', 1, 'build');
    assert.match(told, /sudo without a password does not work/);
    assert.deepEqual(vm.calls().splice(0), ['sudo -n true']);
  });

  test('if nothing on the VM can arm the end', async () => {
    vm.setUser('root');
    vm.setMode('none');
    const told = await refused('debug-unarmed', 1, 'build');
    assert.match(told, /--end-command/);
    vm.setMode('systemd');
  });

  test('for an unknown log format, and for options without effect', async () => {
    await refused('usage', 2, 'build', '--format', 'html');
    await refused('usage', 2, 'build', '--leases', 'redis:x');
    const { world } = debug;
    const stray = await world.mint('job', 'run', 'build', '--project', 'web', '--', 'false');
    assert.match(stray.stderr, /the options of debug access need --debug-on-failure \(usage\)/);
    const without = await world.mint('job', 'run', 'build', '--debug-on-failure', '--', 'touch ran');
    assert.deepEqual(
      [without.status, existsSync(join(vm.home, 'ran'))],
      [2, false],
      'CMD ran before the mistake showed',
    );
    const failed = await world.mint('job', 'run', 'build', '--', 'exit 3');
    assert.deepEqual([failed.status, failed.stderr], [3, ''], 'debug access is never a default');
    assert.deepEqual(openFiles(), []);
  });
});
