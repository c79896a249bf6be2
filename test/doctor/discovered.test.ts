/** `mint-ssh doctor` for VMs that are only in AWS. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { type Machine, type Machines, makeMachines, tags } from '../openssh/machines.ts';
import { doctor } from './told.ts';

describe('a VM that is found by its tags', { timeout: 300_000 }, () => {
  let machines: Machines;
  let dev: Machine;
  before(async () => {
    machines = await makeMachines();
    dev = await machines.add('127.0.0.81', tags('dev'));
    machines.show(tags('theirs', 'somebody'));
    const { world } = machines;
    const { status, stderr } = await world.mint('ssh-config', '--yes', '--file', world.sshConfigFile);
    assert.equal(status, 0, stderr);
  });
  after(() => machines.end());

  test('is checked like one of ssh.toml: instance, address, banner, a real login, the pin', async () => {
    const { of, rows } = await doctor(machines.world, ['dev']);
    assert.equal(rows.filter(({ status }) => status === 'fail').length, 0, JSON.stringify(rows));
    assert.equal(of('settings'), 'ok: dev is not in ssh.toml: it is found by name');
    assert.equal(of('instance'), `ok: AWS says that ${dev.id} is running`);
    assert.equal(of('address'), `ok: 127.0.0.81 port ${machines.port} answers`);
    assert.match(of('banner'), /^ok: SSH-2\.0-OpenSSH/);
    assert.match(of('login'), /^ok: /);
    assert.match(of('actions'), /^ok: ec2:GetConsoleOutput is allowed$/m);
    assert.match(of('block'), /^ok: /);
    assert.match(of('pin'), /^ok: SHA256:/);
  });

  test('is part of the report without a VM, with problems of its block and its pin', async () => {
    const { world } = machines;
    const well = await doctor(world, []);
    assert.match(well.of('settings'), /^ok: .* has no VM; AWS shows \d VMs?$/);
    assert.equal(well.of('other pins'), 'ok: 1 VM that AWS shows: pinned');
    assert.doesNotMatch(well.of('include'), /no block/);
    machines.show(tags('fresh'));
    await world.mint('vms', '--refresh');
    const block = await doctor(world, []);
    assert.match(block.of('include'), /^warn: no block for fresh, which AWS shows as yours$/m);
    assert.match(block.hint('include'), /^mint-ssh ssh-config --file /m);
    const record = `${world.configDir}/hosts/dev.json`;
    const text = readFileSync(record, 'utf8');
    writeFileSync(record, text.replaceAll(dev.id, 'i-0fedcba9876543210'), { mode: 0o600 });
    assert.match(
      (await doctor(world, [])).of('other pins'),
      new RegExp(`^warn: dev: the key was pinned on i-0fedcba9876543210, and AWS shows ${dev.id}$`, 'm'),
    );
    writeFileSync(record, text, { mode: 0o600 });
  });

  test('is reported as stopped, terminated or another owner’s', async () => {
    const { world } = machines;
    machines.change(dev.id, { state: 'stopped' });
    const stopped = await doctor(world, ['dev']);
    assert.equal(stopped.of('instance'), `fail: ${dev.id} is stopped`);
    assert.equal(stopped.hint('instance'), 'mint-ssh start dev');
    // The login is skipped, or tried if AWS took too long to return the state. In neither case is the VM started.
    assert.match(stopped.of('login'), /^(?:not-checked|fail): .*is stopped/);
    assert.ok(!world.cloud.requests.some(({ operation }) => operation === 'StartInstances'));
    machines.change(dev.id, { state: 'running' });
    const theirs = await doctor(world, ['theirs']);
    assert.match(theirs.of('instance'), /^fail: no VM of \S+ is called theirs \(vm-not-found\)/);
    assert.match(theirs.hint('instance'), /belongs to somebody/);
    for (const check of ['address', 'login', 'pin']) assert.match(theirs.of(check), /^not-checked: /);
  });
});
