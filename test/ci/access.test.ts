/** Debug access from start to end, with real ssh and a real sshd. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { demoRegion } from '../cloud/cloud.ts';
import { findInMemory, mayRead, seedInMemory } from '../openssh/memory.ts';
import { runningProcesses } from '../openssh/processes.ts';
import { type DebugWorld, makeDebugWorld } from './debug-world.ts';

describe('debug access', { timeout: 300_000 }, () => {
  let debug: DebugWorld;
  before(async () => {
    debug = await makeDebugWorld();
  });
  after(() => debug.end());

  const leases = async () =>
    JSON.parse((await debug.world.mint('debug', 'list', '--json')).stdout) as { readonly vm: string }[];

  test('a failed job authorizes a visitor’s own key until it is ended', async (context) => {
    const { world } = debug;
    const vm = await debug.begin('build-1', '--host-key');
    const fine = await world.mint('job', 'run', 'build-1', '--', 'sh', '-c', 'echo "a  b"; echo c >&2');
    assert.deepEqual([fine.status, fine.stdout, fine.stderr], [0, 'a  b\n', 'c\n']);

    const [job] = JSON.parse((await world.mint('job', 'list', '--json')).stdout) as {
      readonly public_key: string;
    }[];
    const [agent] = world.agents();
    const publicKey = Buffer.from(job?.public_key.split(' ')[1] ?? '', 'base64').subarray(-32);
    const seed = agent !== undefined && mayRead(agent.pid) ? seedInMemory(agent.pid, publicKey) : undefined;
    if (seed === undefined) context.diagnostic('NOT shown: the agent’s memory cannot be read here');
    else assert.deepEqual(search([world.directory, debug.machines], seed), []);

    const words = ['--project', 'Web', '--format', 'json', '--authorize', `${debug.personKey}.pub`];
    const ways = ['--destroy', debug.destroy, '--', 'echo working; exit 7'];
    const holder = debug.start('job', 'run', 'build-1', '--debug-on-failure', ...words, ...ways);
    const block = await debug.block(holder);
    assert.deepEqual([block.armed_by, block.private_key], ['systemd-run', null]);
    const [line = ''] = vm.authorizedKeys().slice(-1);
    assert.match(line, /^restrict,pty,expiry-time="\d{14}" ssh-ed25519 \S+ mint-debug-build-1$/);
    assert.match(
      vm.calls().join('\n'),
      /^systemd-run --unit=mint-debug-[0-9a-f]{12} .*--on-active=1(?:800|79\d) --timer-property=AccuracySec=1s systemctl poweroff --force$/m,
    );

    const inside = await debug.person(block, 'echo inside');
    assert.deepEqual([inside.status, inside.stdout], [0, 'inside\n'], inside.stderr);
    assert.equal(block.end_inside, 'sudo poweroff');
    assert.equal((await world.mint('debug', 'end', block.lease, '--destroy', debug.destroy)).status, 0);
    // The lease stays until the holder has seen the request.
    const { status, stdout, stderr } = await holder.done;
    assert.deepEqual([status, stdout], [7, 'working\n'], 'the status is that of the command');
    assert.equal((await world.mint('debug', 'end', block.lease)).status, 1, 'the lease was removed');
    assert.ok(vm.isOff());
    assert.deepEqual([...new Set(debug.destroyed())], ['build-1']);
    assert.notEqual((await debug.person(block, 'true')).status, 0, 'a login is impossible');
    assert.notEqual((await world.mint('job', 'run', 'build-1', '--', 'true')).status, 0);

    assert.deepEqual(await leases(), []);
    assert.ok(!world.file('jobs.json')?.includes('build-1'));
    assert.ok(!world.file('known_hosts')?.includes('build-1'));
    assert.deepEqual(
      readdirSync(join(world.configDir, 'hosts')).filter((name) => name.includes('build-1')),
      [],
    );
    if (seed !== undefined && agent !== undefined) {
      assert.equal(world.agents()[0]?.pid, agent.pid, 'the agent still runs');
      assert.deepEqual(findInMemory(agent.pid, seed), [], 'the key outlived its job');
      assert.deepEqual(search([world.directory, debug.machines], seed), []);
      for (const form of formsOf(seed)) assert.ok(!Buffer.from(stderr).includes(form));
    }
    const audit = debug.audit().filter(({ event }) => String(event).startsWith('debug-'));
    assert.deepEqual(
      audit.map(({ event, vm_name: name, project, lease, command }) => ({
        event,
        name,
        project,
        lease,
        command,
      })),
      [
        ['debug-granted', 'job run'],
        ['debug-ended', 'debug end'],
        ['debug-ended', 'job run'],
      ].map(([event, command]) => ({ event, name: 'build-1', project: 'web', lease: block.lease, command })),
    );
    assert.match(String(audit[0]?.['key_fingerprint']), /^SHA256:/);
  });

  test('prints a one-off key on request, which opens a terminal and nothing else', async () => {
    const { world } = debug;
    const vm = await debug.begin('build-2');
    const holder = debug.open('build-2', 'web', '--print-key');
    const block = await debug.block(holder);
    const inside = await debug.person(block, 'echo inside');
    assert.deepEqual([inside.status, inside.stdout], [0, 'inside\n'], inside.stderr);
    const forwarded = await world.run('ssh', [
      ...[
        '-F',
        'none',
        '-N',
        '-o',
        'BatchMode=yes',
        '-o',
        'ExitOnForwardFailure=yes',
        '-o',
        'ConnectTimeout=10',
      ],
      ...['-o', 'StrictHostKeyChecking=no', '-o', 'UserKnownHostsFile=/dev/null', '-o', 'IdentitiesOnly=yes'],
      ...['-i', join(debug.machines, 'person', `mint-debug-${block.lease}.key`), '-p', String(vm.port)],
      ...['-R', '0:127.0.0.1:9', `${world.environment['USER']}@127.0.0.1`],
    ]);
    assert.match(forwarded.stderr, /remote port forwarding failed/);

    const second = await world.mint(
      'debug',
      'open',
      'build-2',
      '--project',
      'WEB',
      '--print-key',
      '--destroy',
      debug.destroy,
    );
    assert.equal(second.status, 1);
    assert.match(
      second.stderr,
      /error: debug access of web is already open: .*, pid \d+, until 20\d\d-.* UTC \(debug-limit\)/,
    );
    assert.match(second.stderr, new RegExp(`mint-ssh debug end ${block.lease}`));
    assert.deepEqual(
      (await leases()).map(({ vm: name }) => name),
      ['build-2'],
    );

    const ended = await world.mint('debug', 'end', block.lease);
    assert.deepEqual([ended.status, ended.stdout], [0, ''], ended.stderr);
    assert.equal((await holder.done).status, 0);
    assert.ok(vm.isOff());
    assert.equal((await world.mint('debug', 'end', block.lease)).status, 1, 'the lease was removed');
    assert.deepEqual(
      debug.destroyed().filter((name) => name === 'build-2'),
      ['build-2'],
      'once',
    );
  });

  test('sets an EC2 instance to terminate at shutdown, and terminates it when the holder gets a signal', async () => {
    const { world } = debug;
    const vm = await debug.begin('build-3');
    const instance = 'i-0123456789abcdef0';
    world.cloud.instances.set(instance, {
      id: instance,
      region: demoRegion,
      state: 'running',
      address: '127.0.0.1',
    });
    const holder = debug.open('build-3', 'web', '--instance', instance, '--destroy', 'terminate');
    const block = await debug.block(holder);
    assert.equal(world.cloud.instances.get(instance)?.shutdownBehaviour, 'terminate');
    const operations = world.cloud.requests.map(({ operation }) => operation);
    assert.ok(operations.indexOf('ModifyInstanceAttribute') > operations.indexOf('DescribeInstances'));
    assert.ok(vm.isArmed());
    process.kill(holder.pid, 'SIGTERM');
    const { status, stderr } = await holder.done;
    assert.equal(status, 0, stderr);
    assert.equal(world.cloud.instances.get(instance)?.state, 'terminated');
    const [ended] = debug
      .audit()
      .filter(({ event, lease }) => event === 'debug-ended' && lease === block.lease);
    assert.equal(ended?.['instance_id'], instance);
    assert.deepEqual(await leases(), []);
  });
});

/** Where a key occurs in one of its forms, on the disk and in what processes expose. */
function search(directories: readonly string[], seed: Buffer): string[] {
  const forms = formsOf(seed);
  const holds = (bytes: Buffer) => forms.some((form) => bytes.includes(form));
  const files = directories.flatMap((directory) =>
    readdirSync(directory, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name))
      .filter((path) => holds(readFileSync(path))),
  );
  const processes = runningProcesses()
    .filter(({ command, environment }) => holds(Buffer.from(`${command}\n${environment}`, 'latin1')))
    .map(({ command }) => command);
  return [...files, ...processes];
}

function formsOf(seed: Buffer): Buffer[] {
  const base64 = [0, 1, 2].map((shift) => {
    const text = Buffer.concat([Buffer.alloc(shift), seed])
      .toString('base64')
      .replace(/=+$/, '');
    return Buffer.from(text.slice(shift === 0 ? 0 : shift + 1, -1));
  });
  return [seed, Buffer.from(seed.toString('hex')), ...base64];
}
