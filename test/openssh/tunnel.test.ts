/** A VM without a public address, through an EC2 Instance Connect Endpoint's tunnel. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { after, afterEach, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { demoAccessKey } from '../cloud/cloud.ts';
import type { Endpoint } from '../cloud/endpoint.ts';
import { MovableClock } from './faketime.ts';
import type { Machine } from './machines.ts';
import { makePrivateVm, type PrivateVm } from './private-vm.ts';
import { type Result, type World, waitFor } from './world.ts';

/** The copied bytes: of odd length, all different, a gigabyte if repeated that often. */
const block = randomBytes((64 << 20) + 17);
const times = 16;
const total = block.length * times;

describe('a tunnel', { timeout: 600_000 }, () => {
  let vm: PrivateVm;
  let world: World;
  let endpoint: Endpoint;
  let machine: Machine;
  before(async () => {
    vm = await makePrivateVm();
    ({ machine, endpoint } = vm);
    ({ world } = vm.machines);
  });
  afterEach(() => {
    endpoint.reception = { kind: 'lead' };
  });
  after(() => vm.end());

  /** The behaviour of the endpoint, and the output of ssh. */
  async function failing(reception: Endpoint['reception'], ...patterns: RegExp[]): Promise<Result> {
    endpoint.reception = reception;
    const result = await world.ssh('dev', 'true');
    assert.equal(result.status, 255, result.stderr);
    for (const pattern of patterns) assert.match(result.stderr, pattern);
    return result;
  }

  test('connects ssh to the VM, and pins its host key', async () => {
    const { status, stdout, stderr } = await world.ssh('dev', 'echo $MACHINE');
    assert.equal(status, 0, stderr);
    assert.equal(stdout.trim(), machine.id);
    assert.equal(stderr, '');
    assert.equal(world.file('known_hosts'), `dev=${machine.sshd.hostKey.fingerprint}\n`);
    const { stdout: shown } = await world.mint('hosts', 'show', 'dev', '--json');
    assert.equal(JSON.parse(shown).evidence, 'first-use');
    assert.deepEqual(endpoint.faults, []);
  });

  test('is opened with a secret URL, which is in no log and on no terminal', async () => {
    const { status, stderr } = await world.mint('--verbose', 'ssh', 'dev', '--', 'true');
    assert.equal(status, 0, stderr);
    assert.match(stderr, /dev is reached|dev is 10\.9\.0\.31 port/);
    const log = world.file('run/agent.log') ?? '';
    assert.notEqual(log, '');
    for (const text of [stderr, log, world.file('audit.log') ?? '']) {
      assert.doesNotMatch(text, /X-Amz|openTunnel|wss:/i);
    }
  });

  test('detects a changed host key', async () => {
    await machine.sshd.replaceHostKey();
    const { status, stderr } = await world.ssh('dev', 'true');
    assert.equal(status, 255);
    assert.match(stderr, /\(host-key-changed\)/);
    const { fingerprint } = machine.sshd.hostKey;
    assert.equal((await world.mint('hosts', 'accept', 'dev', fingerprint)).status, 0);
    assert.equal((await world.ssh('dev', 'true')).status, 0);
  });

  test('carries ssh -W, and what goes through it', async () => {
    const { status, stdout } = await world
      .startSsh(['-W', `127.0.0.31:${vm.machines.port}`, 'dev'], { input: 'SSH-2.0-nobody\r\n' })
      .done.catch(() => ({ status: 1, stdout: '' }));
    assert.match(stdout, /^SSH-2\.0-OpenSSH/);
    assert.notEqual(status, 255);
  });

  const fast = ['-c', 'aes128-gcm@openssh.com'];
  const expected = () => {
    const hash = createHash('sha256');
    for (let count = 0; count < times; count += 1) hash.update(block);
    return hash.digest('hex');
  };

  test('downloads a gigabyte unchanged', { timeout: 300_000 }, async () => {
    const file = join(world.directory, 'block');
    writeFileSync(file, block);
    const command = `for i in $(seq ${times}); do cat ${file}; done`;
    const options = { hashOutput: true, timeout: 170_000 };
    const { status, stdout, stderr } = await world.startSsh([...fast, 'dev', command], options).done;
    assert.equal(status, 0, stderr);
    assert.equal(stdout, `${total} ${expected()}`);
    assert.deepEqual(endpoint.faults, []);
  });

  test('uploads a gigabyte unchanged, in frames that AWS accepts', { timeout: 300_000 }, async () => {
    const file = join(world.directory, 'block');
    writeFileSync(file, block);
    const command = `for i in $(seq ${times}); do cat ${file}; done | ssh -F ${world.sshConfigFile} ${fast.join(' ')} dev sha256sum`;
    const { status, stdout, stderr } = await world.run('sh', ['-c', command], { timeout: 170_000 });
    assert.equal(status, 0, stderr);
    assert.equal(stdout.slice(0, 64), expected());
    assert.equal(endpoint.largestFrame, 65_000);
    assert.deepEqual(endpoint.faults, []);
  });

  test('that is idle for a while loses nothing', async () => {
    const child = world.start('ssh', ['-F', world.sshConfigFile, 'dev', 'echo begun; sha256sum'], {
      holdInput: true,
      timeout: 60_000,
    });
    await child.until(/begun/);
    const goOn = endpoint.stopReading();
    const piece = Buffer.alloc(1 << 20, 'piece');
    const hash = createHash('sha256');
    let written = 0;
    const feed = (async () => {
      for (; written < 48; written += 1) {
        hash.update(piece);
        if (!child.stdin.write(piece)) await once(child.stdin, 'drain');
      }
      child.stdin.end();
    })();
    for (let quiet = 0, last = -1; quiet < 5; quiet += written === last ? 1 : 0) {
      last = written;
      await sleep(300);
    }
    assert.ok(written < 40, `${written} MB were taken`);
    goOn();
    await feed;
    const { status, stdout } = await child.done;
    assert.equal(status, 0);
    assert.match(stdout, new RegExp(hash.digest('hex')));
  });

  test('that is refused: the error has AWS’s message and the permission', async () => {
    const refuse = (status: number, body: string) => ({ kind: 'refuse', status, body }) as const;
    await failing(
      refuse(403, '{"message":"User: arn:aws:iam::1:user/anna is not authorized"}'),
      /AWS does not allow a tunnel to dev through eice-\w+: User: arn:aws:iam::1:user\/anna is not authorized \(HTTP 403\) \(aws-denied\)/,
      /hint: allow ec2-instance-connect:OpenTunnel on the endpoint eice-/,
    );
    await failing(refuse(429, '{"message":"Too many"}'), /Too many \(HTTP 429\) \(aws-throttled\)/, /twenty/);
    await failing(
      refuse(200, '<html>sign in</html>'),
      /opens no tunnel to dev: .*\(HTTP 200\) \(dial-failed\)/,
    );
    const { stderr } = await failing(
      refuse(400, `\u001b]0;gotcha\u0007 remotePort ${'x'.repeat(10_000)}`),
      /\\u\{1b\}\]0;gotcha\\u\{7\} remotePort x+… \(HTTP 400\) \(dial-failed\)/,
      /its security group allows the endpoint/,
    );
    assert.ok(stderr.length < 1500);
  });

  test('with invalid credentials is refused', async () => {
    const key = world.cloud.accessKeys.get(demoAccessKey.id);
    assert.ok(key);
    const again = async () => (await world.ssh('dev', 'true')).stderr;
    world.cloud.accessKeys.set(demoAccessKey.id, {
      ...key,
      denied: ['ec2:DescribeInstanceConnectEndpoints'],
    });
    try {
      // The worker knows the endpoint for a minute: another one asks.
      const { status, stderr } = await world.startSsh(['dev', 'true'], { env: { AWS_FOR_THIS: 'test' } })
        .done;
      assert.equal(status, 255);
      assert.match(
        stderr,
        /AWS does not allow ec2:DescribeInstanceConnectEndpoints for arn:\S+: .*\(aws-denied\)/,
      );
    } finally {
      world.cloud.accessKeys.set(demoAccessKey.id, key);
    }
    assert.equal(await again(), '');
  });

  test('that is closed before the VM has sent anything: the error has the reason, escaped', async () => {
    const closing = (code: number, reason: string) =>
      ({ kind: 'open', act: (tunnel) => tunnel.close(code, reason) }) as Endpoint['reception'];
    await failing(
      closing(1011, 'Cannot \u001b[31mreach\u202e it'),
      /cannot reach dev: eice-\w+ closed the tunnel: Cannot \\u\{1b\}\[31mreach\\u\{202e\} it \(dial-failed\)/,
    );
    await failing(closing(4001, ''), /closed the tunnel: code 4001 \(dial-failed\)/);
    await failing(closing(1000, ''), /closed the tunnel, and dev sent nothing \(dial-failed\)/);
    await failing(
      { kind: 'open', act: (tunnel) => tunnel.terminate() },
      /the connection was reset \(dial-failed\)/,
    );
    await machine.sshd.stop();
    await failing({ kind: 'lead' }, /closed the tunnel: Cannot connect to port \d+ of i-/);
    await machine.sshd.start();
  });

  test('that is closed in a session: the error has the reason, and the next one works', async () => {
    const session = world.startSsh(['dev', 'echo in; cat'], { holdInput: true });
    await session.until(/in\n/);
    endpoint.tunnels[0]?.socket.close(1008, 'The hour is over');
    const { status, stderr } = await session.done;
    assert.equal(status, 255);
    assert.match(stderr, /error: eice-\w+ closed the tunnel: The hour is over \(io-failed\)/);
    assert.equal((await world.ssh('dev', 'true')).status, 0);
  });

  test('that is cut in the middle of a copy ends it, never with success', async () => {
    const copy = world.startSsh(['dev', 'cat /dev/zero'], { hashOutput: true });
    const begun = endpoint.bytesDown + (4 << 20);
    await waitFor('some of the copy', 30_000, () => endpoint.bytesDown > begun);
    endpoint.tunnels[0]?.wire.destroy();
    const { status, stderr } = await copy.done;
    assert.equal(status, 255);
    assert.match(stderr, /the connection to dev broke: it was reset/);
    assert.equal((await world.ssh('dev', 'true')).status, 0);
  });

  test('with invalid frames is ended at once', async () => {
    const says = (...data: (string | Buffer)[]) =>
      ({ kind: 'open', act: (tunnel) => void data.map((one) => tunnel.send(one)) }) as Endpoint['reception'];
    const bad = /cannot reach dev: eice-\w+ does not follow the protocol of an endpoint: /;
    await failing(says('SSH-2.0-text\r\n'), new RegExp(`${bad.source}it sent text \\(dial-failed\\)`));
    await failing(says(Buffer.alloc((1 << 20) + 1)), new RegExp(`${bad.source}Max payload size exceeded`));
    await failing(
      says(Buffer.from('SSH-2.0-OpenSSH_9.2\r\n'), 'text'),
      /does not follow the protocol of an endpoint: it sent text \(io-failed\)/,
    );
    const raw = (bytes: string) =>
      ({
        kind: 'open',
        act: () => endpoint.tunnels.at(-1)?.wire.write(Buffer.from(bytes, 'hex')),
      }) as Endpoint['reception'];
    // A masked frame, a reserved bit, a reserved opcode, a length of 2^63: RFC 6455 §5.
    for (const bytes of ['828100000000ff', 'c2012a', '83012a', '827f80000000000000002a']) {
      await failing(raw(bytes), bad);
    }
  });

  test('to a server with another certificate is refused, and the hint names AWS_CA_BUNDLE', async () => {
    const { status, stderr } = await world.startSsh(['dev', 'true'], { env: { AWS_CA_BUNDLE: '' } }).done;
    assert.equal(status, 255);
    assert.match(
      stderr,
      /cannot reach dev through eice-\w+ \(127\.0\.0\.1:\d+\): its certificate is not one/,
    );
    assert.match(stderr, /set AWS_CA_BUNDLE to your company's CA file/);
  });

  test('goes through HTTPS_PROXY, and past it by NO_PROXY', async () => {
    const asked: string[] = [];
    const sockets = new Set<Socket>();
    const proxy = createServer((near) => {
      sockets.add(near);
      near.on('error', () => {});
      near.once('data', (head) => {
        asked.push(head.toString().split('\r\n')[0] ?? '');
        const [, host = '', port = ''] = /^CONNECT ([\w.]+):(\d+) /.exec(head.toString()) ?? [];
        const far = connect({ host, port: Number(port) });
        far.on('error', () => near.destroy());
        near.write('HTTP/1.1 200 OK\r\n\r\n');
        near.pipe(far).pipe(near);
      });
    });
    await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
    const env = { HTTPS_PROXY: `http://127.0.0.1:${(proxy.address() as AddressInfo).port}` };
    try {
      const through = await world.startSsh(['dev', 'true'], { env }).done;
      assert.equal(through.status, 0, through.stderr);
      assert.deepEqual(asked, [`CONNECT ${endpoint.dnsName} HTTP/1.1`]);
      const past = await world.startSsh(['dev', 'true'], { env: { ...env, NO_PROXY: '127.0.0.1' } }).done;
      assert.equal(past.status, 0, past.stderr);
      assert.equal(asked.length, 1);
      const nowhere = await world.startSsh(['dev', 'true'], { env: { HTTPS_PROXY: 'http://127.0.0.1:1' } })
        .done;
      assert.equal(nowhere.status, 255);
      assert.match(
        nowhere.stderr,
        /cannot reach dev through eice-\w+ .*refused \(dial-failed\)\n.*HTTPS_PROXY/,
      );
    } finally {
      for (const socket of sockets) socket.destroy();
      proxy.close();
    }
  });

  test('that is not opened, and TLS that is not answered, time out', async () => {
    const sockets = new Set<Socket>();
    const mute = createServer((socket) => sockets.add(socket.on('error', () => {})));
    await new Promise<void>((resolve) => mute.listen(0, '127.0.0.1', resolve));
    const shown = [...world.cloud.endpoints.values()].find(({ id }) => id === endpoint.id);
    assert.ok(shown);
    try {
      endpoint.reception = { kind: 'silent' };
      const { asked } = endpoint;
      const silent = world.ssh('dev', 'true');
      await waitFor('the tunnel to be asked for', 15_000, () => endpoint.asked > asked);
      world.cloud.endpoints.set(endpoint.id, {
        ...shown,
        dnsName: `127.0.0.1:${(mute.address() as AddressInfo).port}`,
      });
      // Another environment is another worker, which looks for the endpoint again.
      const hung = world.startSsh(['dev', 'true'], { env: { AWS_FOR_THIS: 'hang' } }).done;
      for (const { status, stderr } of await Promise.all([silent, hung])) {
        assert.equal(status, 255);
        assert.match(
          stderr,
          /cannot reach dev through eice-\w+ \(127\.0\.0\.1:\d+\): no answer \(dial-failed\)/,
        );
      }
    } finally {
      world.cloud.endpoints.set(endpoint.id, shown);
      for (const socket of sockets) socket.destroy();
      mute.close();
    }
  });

  test('warns minutes before its hour is over, also after a change of the clock', async () => {
    const clock = new MovableClock(join(world.directory, 'clock'));
    const env = clock.wallClockOnly;
    const session = world.startSsh(['dev', 'echo in; cat'], { holdInput: true, timeout: 60_000, env });
    await session.until(/in\n/, 30_000);
    clock.set(56 * 60);
    await session.until(
      /mint-ssh: the tunnel to dev ends in 4 minutes: AWS ends every tunnel after an hour/,
      30_000,
    );
    clock.set(90 * 60);
    session.stdin.end('still here\n');
    const { status, stdout, stderr } = await session.done;
    assert.equal(status, 0, stderr);
    assert.match(stdout, /still here/);
    assert.equal(stderr.match(/ends in/g)?.length, 1);
  });
});
