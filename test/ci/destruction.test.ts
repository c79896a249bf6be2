/** How an instance is destroyed: until EC2 confirms it, with its own account, and with other failures. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { demoAccessKey, demoRegion } from '../../src/demo/cloud.ts';
import { demoAccount, type Instance } from '../../src/demo/instance.ts';
import { type Child, mintProgram, waitFor } from '../openssh/world.ts';
import { libfaketime } from '../programs.ts';
import { type Block, type DebugWorld, makeDebugWorld } from './debug-world.ts';
import type { JobVm } from './job-vm.ts';

describe('the destruction of an instance', { timeout: 400_000 }, () => {
  let debug: DebugWorld;
  let count = 0;
  before(async () => {
    debug = await makeDebugWorld();
  });
  after(() => debug.end());

  const cloud = () => debug.world.cloud;
  const stateOf = (id: string) => cloud().instances.get(id)?.state;
  const terminations = () =>
    cloud().requests.filter(({ operation }) => operation === 'TerminateInstances').length;

  function launch(changes: Partial<Instance> = {}): string {
    count += 1;
    const id = `i-0123456789abce${String(count).padStart(3, '0')}`;
    cloud().instances.set(id, { id, region: demoRegion, state: 'running', address: '127.0.0.1', ...changes });
    return id;
  }

  interface Held {
    readonly vm: JobVm;
    readonly holder: Child;
    readonly block: Block;
  }

  function start(name: string, instance: string, env: Record<string, string | undefined> = {}): Child {
    const words = ['--project', name, '--instance', instance, '--print-key', '--format', 'json'];
    return debug.world.start(mintProgram, ['debug', 'open', name, ...words], { timeout: 300_000, env });
  }

  async function hold(
    name: string,
    instance: string,
    env: Record<string, string | undefined> = {},
  ): Promise<Held> {
    const vm = await debug.begin(name);
    const holder = start(name, instance, env);
    return { vm, holder, block: await debug.block(holder) };
  }

  const openLeases = async () =>
    (JSON.parse((await debug.world.mint('debug', 'list', '--json')).stdout) as { readonly vm: string }[]).map(
      ({ vm }) => vm,
    );

  const reap = (later: string, env: Record<string, string | undefined> = {}) =>
    debug.world.run(mintProgram, ['debug', 'reap', '--json'], {
      env: { LD_PRELOAD: libfaketime, FAKETIME: later, ...env },
      timeout: 90_000,
    });

  test('after a refusal by EC2 the holder retries until it is confirmed, and keeps the lease', async () => {
    const id = launch();
    const { holder, block } = await hold('refused', id);
    const key = cloud().accessKeys.get(demoAccessKey.id);
    cloud().accessKeys.set(demoAccessKey.id, {
      secret: demoAccessKey.secret,
      denied: ['ec2:TerminateInstances'],
    });
    process.kill(holder.pid, 'SIGTERM');
    await holder.until(
      /refused is not destroyed yet: AWS does not allow ec2:TerminateInstances .*\(aws-denied\)/,
      60_000,
    );
    const before = terminations();
    await waitFor('another attempt', 60_000, () => terminations() > before);
    assert.deepEqual([stateOf(id), await openLeases()], ['running', ['refused']]);
    const ending = await debug.world.mint('debug', 'end', block.lease);
    assert.equal(ending.status, 1);
    assert.match(ending.stderr, /\(aws-denied\)/);
    const reaping = await reap('+40m');
    assert.equal(reaping.status, 1);
    assert.deepEqual([stateOf(id), await openLeases()], ['running', ['refused']]);
    cloud().accessKeys.set(demoAccessKey.id, key ?? { secret: demoAccessKey.secret });
    const { status, stderr } = await holder.done;
    assert.equal(status, 0, stderr);
    assert.deepEqual([stateOf(id), await openLeases()], ['terminated', []]);
  });

  test('credentials that expired while the VM was held are resolved again', async () => {
    const file = join(debug.world.directory, 'credentials');
    const put = (id: string, secret: string) =>
      writeFileSync(file, `[ci]\naws_access_key_id = ${id}\naws_secret_access_key = ${secret}\n`);
    cloud().accessKeys.set('AKIAFIRSTFIRSTFIRST1', { secret: 'first' });
    put('AKIAFIRSTFIRSTFIRST1', 'first');
    const id = launch();
    const { holder } = await hold('expired', id, {
      AWS_ACCESS_KEY_ID: undefined,
      AWS_SECRET_ACCESS_KEY: undefined,
      AWS_PROFILE: 'ci',
      AWS_SHARED_CREDENTIALS_FILE: file,
    });
    cloud().accessKeys.delete('AKIAFIRSTFIRSTFIRST1');
    process.kill(holder.pid, 'SIGTERM');
    await holder.until(/expired is not destroyed yet: .*\(aws-credentials\)/, 60_000);
    assert.equal(stateOf(id), 'running');
    cloud().accessKeys.set('AKIASECONDSECONDSEC2', { secret: 'second' });
    put('AKIASECONDSECONDSEC2', 'second');
    const { status, stderr } = await holder.done;
    assert.equal(status, 0, stderr);
    assert.equal(stateOf(id), 'terminated');
  });

  test('an instance that EC2 has forgotten counts as destroyed, for its own account', async () => {
    const id = launch();
    const { holder } = await hold('forgotten', id);
    cloud().instances.delete(id);
    process.kill(holder.pid, 'SIGTERM');
    const { status, stderr } = await holder.done;
    assert.equal(status, 0, stderr);
    assert.deepEqual(await openLeases(), []);
  });

  test('a reaper of another account closes no lease, and the right one still finds the instance', async () => {
    const id = launch();
    const { holder } = await hold('accounts', id);
    holder.kill('SIGKILL');
    await holder.done;
    cloud().accessKeys.set('AKIAOTHEROTHEROTHER1', { secret: 'other', account: '999988887777' });
    // Another account cannot see the instance.
    const instance = cloud().instances.get(id);
    assert.ok(instance !== undefined);
    cloud().instances.delete(id);
    const wrong = await reap('+40m', {
      AWS_ACCESS_KEY_ID: 'AKIAOTHEROTHEROTHER1',
      AWS_SECRET_ACCESS_KEY: 'other',
    });
    assert.equal(wrong.status, 1);
    assert.match(
      wrong.stderr,
      new RegExp(
        `${id} belongs to account ${demoAccount}, the credentials to 999988887777 \\(aws-credentials\\)`,
      ),
    );
    assert.deepEqual([JSON.parse(wrong.stdout), await openLeases()], [[], ['accounts']]);
    cloud().instances.set(id, instance);
    // If STS does not answer, the account of the credentials is unknown.
    cloud().instances.delete(id);
    cloud().faults.of('sts').hang();
    const unknown = await reap('+40m');
    cloud().faults.of('sts').clear();
    assert.equal(unknown.status, 1, unknown.stderr);
    assert.deepEqual(await openLeases(), ['accounts']);
    cloud().instances.set(id, instance);
    const right = await reap('+40m');
    assert.equal(right.status, 0, right.stderr);
    assert.deepEqual([stateOf(id), await openLeases()], ['terminated', []]);
  });

  test('in a region of a new partition', async () => {
    const id = launch({ region: 'eusc-de-east-1' });
    await debug.begin('sovereign');
    const holder = start('sovereign', id, { AWS_REGION: 'eusc-de-east-1' });
    await debug.block(holder);
    holder.kill('SIGKILL');
    await holder.done;
    const listed = JSON.parse((await debug.world.mint('debug', 'list', '--json')).stdout) as {
      readonly region: string;
    }[];
    assert.deepEqual(
      listed.map(({ region }) => region),
      ['eusc-de-east-1'],
    );
    const { status, stderr } = await reap('+40m');
    assert.equal(status, 0, stderr);
    assert.equal(stateOf(id), 'terminated');
  });

  test('a lease that cannot be read is reported and skipped: the others are reaped', async () => {
    const id = launch();
    const { holder } = await hold('readable', id);
    holder.kill('SIGKILL');
    await holder.done;
    const file = (project: string) => join(debug.world.configDir, 'leases', `${project}.json`);
    const record = JSON.parse(readFileSync(file('readable'), 'utf8')) as { leases: object[] };
    const [lease = {}] = record.leases;
    const bad = { ...lease, vm: '::error::\u001b[31mx' };
    writeFileSync(file('readable'), JSON.stringify({ ...record, leases: [bad, ...record.leases] }));
    writeFileSync(file('damaged'), '{', { mode: 0o600 });
    const { status, stdout, stderr } = await reap('+40m');
    assert.equal(status, 1);
    assert.match(stderr, /warning: a lease of readable cannot be read, and is skipped: \{/);
    assert.match(stderr, /warning: a lease of damaged cannot be read, and is skipped: .*damaged\.json/);
    assert.match(stderr, /error: 2 unreadable leases \(io-failed\)/);
    assert.ok(!stderr.includes('\u001b'));
    assert.deepEqual(
      (JSON.parse(stdout) as { readonly vm: string }[]).map(({ vm }) => vm),
      ['readable'],
    );
    assert.equal(stateOf(id), 'terminated');
    const list = await debug.world.mint('debug', 'list');
    assert.equal(list.status, 1);
    for (const project of ['readable', 'damaged']) writeFileSync(file(project), '{"version":1,"leases":[]}');
  });

  test('a session that breaks while the end is being armed destroys the VM, because the end may be armed', async () => {
    const id = launch();
    const vm = await debug.begin('cut');
    vm.hang('slow');
    const holder = start('cut', id);
    await waitFor('the end to be armed', 60_000, () => vm.isArmed());
    // The connection breaks, and the script on the VM continues.
    vm.powerOff();
    const { status, stdout, stderr } = await holder.done;
    assert.equal(status, 1);
    assert.match(stderr, /error: the session on cut ended while its end was being armed \(io-failed\)/);
    assert.deepEqual([stdout, stateOf(id), await openLeases()], ['', 'terminated', []]);
  });
});
