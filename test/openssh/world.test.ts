import assert from 'node:assert/strict';
import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { EC2InstanceConnectClient, SendSSHPublicKeyCommand } from '@aws-sdk/client-ec2-instance-connect';
import { demoAccessKey } from '../cloud/cloud.ts';
import { processesOf } from './processes.ts';
import { canMakeUsers, greeting } from './vm-users.ts';
import { loginUser, makeWorld, type World, waitFor } from './world.ts';

describe('a world', { timeout: 300_000 }, () => {
  let world: World;
  before(async () => {
    world = await makeWorld({ vms: { dev: { relay: true }, other: {} }, withoutSshConfig: true });
  });
  after(() => world.end());

  /** Pushes a key with the SDK itself, and gives the arguments with which plain ssh logs in. */
  async function pushKey(vm: string): Promise<string[]> {
    const { instance, port } = world.vm(vm);
    const key = join(world.directory, `key-${vm}`);
    const made = await world.run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', '', '-f', key]);
    assert.equal(made.status, 0, made.stderr);
    const { stdout: line } = await world.run('cat', [`${key}.pub`]);
    const client = new EC2InstanceConnectClient({
      endpoint: world.cloud.endpoint,
      region: 'us-east-1',
      credentials: { accessKeyId: demoAccessKey.id, secretAccessKey: demoAccessKey.secret },
    });
    const input = { InstanceId: instance, InstanceOSUser: loginUser, SSHPublicKey: line.trim() };
    await client.send(new SendSSHPublicKeyCommand(input));
    client.destroy();
    const knownHosts = join(world.directory, `known-${vm}`);
    writeFileSync(knownHosts, `[127.0.0.1]:${port} ${world.sshd(vm).hostKey.line}\n`);
    const options = [
      '-F',
      'none',
      '-i',
      key,
      '-o',
      `UserKnownHostsFile=${knownHosts}`,
      '-o',
      'BatchMode=yes',
    ];
    return [...options, '-p', String(port), `${loginUser}@127.0.0.1`];
  }

  // That the stand-in forgets a key after 60 s is shown by its own test.
  test('accepts a pushed key through real ssh and sshd, and no other', async () => {
    const login = await pushKey('dev');
    const first = await world.run('ssh', [...login, 'echo in; cat; exit 7'], { input: 'through the relay' });
    assert.equal(first.stdout, 'in\nthrough the relay');
    assert.equal(first.status, 7);
    assert.equal(world.sshd('dev').accepted(), 1);
    assert.equal(world.vm('dev').relay?.accepted, 1);
    rmSync(join(world.directory, 'keys', world.vm('dev').instance, loginUser));
    const late = await world.run('ssh', [...login, 'echo in']);
    assert.equal(late.status, 255);
    assert.match(late.stderr, /Permission denied \(publickey\)/);
    assert.equal(world.sshd('dev').accepted(), 1);
  });

  test('has a new host key on the same port, and keeps or ends sessions as requested', async () => {
    const sshd = world.sshd('other');
    const login = await pushKey('other');
    const session = world.start('ssh', [...login, 'echo in; cat; echo out'], { holdInput: true });
    await session.until(/in\n/);
    await sshd.stop();
    await sshd.start();
    session.stdin.end('still here\n');
    assert.equal((await session.done).stdout, 'in\nstill here\nout\n');

    const { fingerprint } = sshd.hostKey;
    const lost = world.start('ssh', [...login, 'echo in; cat'], { holdInput: true });
    await lost.until(/in\n/);
    await sshd.replaceHostKey();
    assert.equal((await lost.done).status, 255);
    assert.notEqual(sshd.hostKey.fingerprint, fingerprint);
    const refused = await world.run('ssh', [...login, 'true']);
    assert.match(refused.stderr, /REMOTE HOST IDENTIFICATION HAS CHANGED/);
  });

  test('delays, holds, cuts and refuses what goes through a relay', async () => {
    const { relay, port } = world.vm('dev');
    assert.ok(relay);
    const banner = ['-c', `exec 3<>/dev/tcp/127.0.0.1/${port}; head -c 4 <&3`];
    relay.delayMilliseconds = 300;
    const slow = await world.run('bash', banner);
    assert.equal(slow.stdout, 'SSH-');
    assert.ok(slow.milliseconds >= 300, `${slow.milliseconds}`);
    relay.delayMilliseconds = 0;

    const release = relay.holdServer();
    const held = world.start('bash', banner);
    await sleep(300);
    assert.equal(held.stdout, '');
    release();
    assert.equal((await held.done).stdout, 'SSH-');

    relay.holdServer();
    const cut = world.start('bash', banner);
    await waitFor('the connection', 15_000, () => relay.open > 0);
    relay.cut();
    assert.equal((await cut.done).stdout, '');
    relay.refuse();
    assert.equal((await world.run('bash', banner)).stdout, '');
    relay.refuse(false);
    relay.holdServer()();
  });

  test('has VMs with a host key of each type that cloud-init makes', async () => {
    const { port } = world.vm('dev');
    const { stdout } = await world.run('ssh-keyscan', ['-p', String(port), '127.0.0.1']);
    const shown = stdout
      .trim()
      .split('\n')
      .map((line) => line.split(' ').slice(1).join(' '));
    assert.deepEqual(
      shown.sort(),
      world
        .sshd('dev')
        .hostKeys.map(({ line }) => line)
        .sort(),
    );
    assert.deepEqual(shown.map((line) => line.split(' ')[0]).sort(), [
      'ecdsa-sha2-nistp256',
      'ssh-ed25519',
      'ssh-rsa',
    ]);
  });

  test('has other users’ instances in its account', () => {
    const own = [world.vm('dev').instance, world.vm('other').instance];
    const others = [...world.cloud.instances.values()].filter(({ id }) => !own.includes(id));
    assert.ok(others.length > world.cloud.pageSize);
  });

  test('ends a child that takes too long, and reports its output', async () => {
    await assert.rejects(world.run('sh', ['-c', 'echo before; sleep 60'], { timeout: 300 }), /before/);
  });
});

test('a world fails at its end if a process is left, ends it, and leaves no directory', async () => {
  const world = await makeWorld({ withoutSshConfig: true });
  const child = world.start('sleep', ['60']);
  await assert.rejects(world.end(), new RegExp(`left behind:\n${child.pid} sleep 60`));
  assert.equal((await child.done).signal, 'SIGKILL');
  assert.ok(!existsSync(world.directory));
  assert.deepEqual(processesOf(world.directory), []);
});

test('a world connects the machine’s ssh through the executable to the real sshd', async () => {
  const world = await makeWorld({ vms: { dev: { relay: true }, build: {} } });
  try {
    const { status, stdout, stderr } = await world.ssh('dev', 'echo in; exit 3');
    assert.equal(stdout, 'in\n', stderr);
    assert.equal(status, 3);
    assert.equal(world.sshd('dev').accepted(), 1);
    assert.equal(world.cloud.pushes.length, 1);
    assert.equal(world.agents().length, 1);
    assert.equal(world.file('known_hosts'), `dev=${world.sshd('dev').hostKey.fingerprint}\n`);
  } finally {
    await world.end();
  }
});

test('a world can have a VM with its own user whose shell prints', { skip: !canMakeUsers }, async () => {
  const world = await makeWorld({ vms: { dev: { users: [{ name: 'ubuntu', prints: greeting }] } } });
  try {
    const { status, stdout, stderr } = await world.ssh('dev', 'id -un; pwd');
    assert.equal(status, 0, stderr);
    assert.equal(stdout, `${greeting}ubuntu\n/home/ubuntu\n`);
    assert.match(stderr, /^from the login script$/m);
  } finally {
    await world.end();
  }
});
