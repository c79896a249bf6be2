import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { WireFailureName } from '../../src/demo/wire-failure.ts';
import { type Child, startChild } from './child.ts';
import { freePort, loginUser, makeWorld, mintProgram, type Result, type World } from './world.ts';

/** Every failure has a code and a hint, is reported in time, and shows no stack trace. */
function assertTold(result: Result, code: string, form?: RegExp): void {
  const { status, stderr, milliseconds } = result;
  assert.equal(status, 255, stderr);
  assert.match(stderr, new RegExp(`^mint-ssh: error: .*[^.\n] \\(${code}\\)$`, 'm'));
  assert.match(stderr, /^mint-ssh: hint: \S.+$/m);
  if (form !== undefined) assert.match(stderr, form);
  assert.doesNotMatch(stderr, /^ +at /m);
  assert.doesNotMatch(stderr, /mint-ssh: error: internal error/);
  assert.equal(stderr.match(/mint-ssh: error/g)?.length, 1, stderr);
  assert.ok(milliseconds < 60_000, `${milliseconds} ms`);
}

describe('ssh dev reports each error of Instance Connect', { timeout: 300_000 }, () => {
  let world: World;
  before(async () => {
    world = await makeWorld();
  });
  after(() => world.end());

  const answers: readonly [WireFailureName, string, RegExp][] = [
    ['AuthException', 'aws-denied', /ec2-instance-connect:SendSSHPublicKey/],
    ['AccessDeniedException', 'aws-denied', /ec2-instance-connect:SendSSHPublicKey/],
    ['EC2InstanceNotFoundException', 'vm-not-found', /describe-instances/],
    ['EC2InstanceStateInvalidException', 'vm-not-running', /start-instances/],
    ['EC2InstanceUnavailableException', 'vm-not-running', /start-instances/],
    ['EC2InstanceTypeInvalidException', 'push-failed', /EC2InstanceTypeInvalidException/],
    ['InvalidArgsException', 'push-failed', /instance and user/],
    ['ServiceException', 'push-failed', /health\.aws/],
    ['ThrottlingException', 'aws-throttled', /wait a few seconds/],
    ['ExpiredTokenException', 'aws-credentials', /expired/],
    ['UnrecognizedClientException', 'aws-credentials', /AWS/],
    ['InvalidSignatureException', 'aws-credentials', /AWS/],
    ['SerializationException', 'push-failed', /AWS/],
  ];
  for (const [name, code, form] of answers) {
    test(`${name}: ${code}`, async () => {
      world.cloud.faults.failNext(name, Number.POSITIVE_INFINITY);
      try {
        assertTold(await world.ssh('dev', 'true'), code, form);
      } finally {
        world.cloud.faults.clear();
      }
      assert.equal(world.sshd('dev').accepted(), 0);
      assert.equal(world.file('known_hosts'), undefined);
    });
  }

  test('a closed endpoint, and one whose name does not resolve', async () => {
    const nowhere = `http://127.0.0.1:${await freePort()}`;
    for (const [url, form] of [
      [nowhere, /refused/],
      ['http://ec2-instance-connect.invalid', /resolve/],
    ] as const) {
      const { done } = world.startSsh(['dev', 'true'], { env: { AWS_ENDPOINT_URL: url } });
      assertTold(await done, 'aws-unreachable', form);
    }
  });

  test('an endpoint that accepts the request and never answers', async () => {
    world.cloud.faults.hang();
    try {
      assertTold(await world.ssh('dev', 'true'), 'aws-unreachable', /no answer/);
    } finally {
      world.cloud.faults.clear();
    }
  });

  test('no credentials, and no region', async () => {
    const without = { AWS_ACCESS_KEY_ID: undefined, AWS_SECRET_ACCESS_KEY: undefined };
    assertTold(await world.startSsh(['dev', 'true'], { env: without }).done, 'aws-credentials');
    const regionless = world.startSsh(['dev', 'true'], { env: { AWS_REGION: undefined } });
    assertTold(await regionless.done, 'bad-settings', /region/);
  });

  test('the next login after all of these succeeds', async () => {
    const { status, stderr } = await world.ssh('dev', 'true');
    assert.deepEqual([status, stderr], [0, '']);
  });
});

describe('ssh reports why a VM cannot be reached', { concurrency: true, timeout: 300_000 }, () => {
  let world: World;
  let filtered: { readonly port: number; end(): void };
  before(async () => {
    filtered = await filteredPort();
    world = await makeWorld({
      vms: {
        dev: {},
        closed: { port: await freePort() },
        filtered: { port: filtered.port },
        // Instance Connect pushes a key there, and sshd never asks for it.
        without: { sshdLines: ['AuthorizedKeysCommand none', 'AuthorizedKeysCommandUser none'] },
      },
      settings: [
        `[vm.nameless]\nhost = "vm.invalid"\nport = 22\ninstance = "i-00000000000000000"\nuser = "${loginUser}"`,
      ],
    });
  });
  after(async () => {
    filtered.end();
    await world.end();
  });

  test('a closed port', async () => {
    assertTold(await world.ssh('closed', 'true'), 'dial-failed', /connection refused/);
  });

  test('a filtered port', async () => {
    assertTold(await world.ssh('filtered', 'true'), 'dial-failed', /no answer/);
  });

  test('an address that does not resolve', async () => {
    const nameless = world.cloud.instances.get(world.vm('dev').instance);
    assert.ok(nameless);
    world.cloud.instances.set('i-00000000000000000', { ...nameless, id: 'i-00000000000000000' });
    assertTold(await world.ssh('nameless', 'true'), 'dial-failed', /vm\.invalid.*name does not resolve/);
  });

  test('an unknown name', async () => {
    const proxy = `ProxyCommand=${mintProgram} proxy nobody %p %r`;
    assertTold(await world.ssh('-o', proxy, 'nobody', 'true'), 'vm-not-found', /nobody.*ssh\.toml/s);
  });

  test('an invalid name', async () => {
    for (const name of ['../x', 'a=b', 'x/../..', '\u202ex', 'x'.repeat(300)]) {
      const { status, stderr, stdout } = await world.mint('proxy', name);
      assert.equal(status, 2, stderr);
      assert.match(stderr, /\(bad-vm-name\)/);
      assert.equal(stdout, '');
      assert.doesNotMatch(stderr, /\u202e/);
    }
  });

  test('a user that the VM does not have', async () => {
    const result = await world.ssh('ghost@dev', 'true');
    assertTold(result, 'login-refused', /user ghost/);
    assert.match(result.stderr, /Permission denied/);
    assert.equal(world.sshd('dev').accepted(), 0);
  });

  test('a VM that does not ask Instance Connect for keys', async () => {
    assertTold(
      await world.ssh('without', 'true'),
      'login-refused',
      /check that ec2-instance-connect is installed on the VM/,
    );
  });

  test('--timing shows how far a failed connection got', async () => {
    const { stderr } = await world.mint('--timing', 'proxy', 'closed');
    assert.match(stderr, /timing: start [\d.]+ · agent [\d.]+ · failed [\d.]+ · total [\d.]+ ms/);
    assert.match(stderr, /\(dial-failed\)/);
  });
});

describe('a failure without a stderr that the user sees', { timeout: 300_000 }, () => {
  let world: World;
  before(async () => {
    world = await makeWorld({ vms: { dev: {}, other: {} } });
    assert.equal((await world.ssh('dev', 'true')).status, 0);
    await world.sshd('dev').replaceHostKey();
  });
  after(() => world.end());

  /** Under ControlPersist ssh gives its ProxyCommand /dev/null for stderr. */
  const shared = (vm: string) =>
    `ssh -F ${world.sshConfigFile} -o ControlMaster=auto -o ControlPersist=5 -o ControlPath=${world.directory}/c-${vm} ${vm} true`;
  const onTerminal = (command: string) => world.run('script', ['-qec', command, '/dev/null']);

  test('is printed on the terminal', async () => {
    assert.equal((await world.mint('agent', 'stop')).status, 0);
    world.cloud.faults.failNext('AuthException', Number.POSITIVE_INFINITY);
    try {
      const command = shared('other');
      const { stdout, milliseconds } = await onTerminal(`${command}; echo status $?`);
      assert.match(stdout, /\(aws-denied\)\r\nmint-ssh: hint: /);
      assert.match(stdout, /status 255/);
      assert.ok(milliseconds < 60_000);
    } finally {
      world.cloud.faults.clear();
    }
  });

  test('ends a background job too, which use of the terminal would stop', async () => {
    const script = `${shared('dev')} & wait $!; echo status $?`;
    const { stdout, milliseconds } = await onTerminal(`bash -mc '${script}'`);
    assert.match(stdout, /status 255/);
    assert.doesNotMatch(stdout, /Stopped/);
    assert.ok(milliseconds < 60_000, `${milliseconds} ms`);
  });

  test('ends ssh without a terminal', async () => {
    const { stdout } = await world.run('setsid', ['sh', '-c', `${shared('dev')}; echo status $?`]);
    assert.equal(stdout, 'status 255\n');
  });
});

test('without settings there are no VMs, and no agent is started', async () => {
  const world = await makeWorld({ vms: {}, withoutSshConfig: true });
  try {
    await world.run('rm', ['-r', world.configDir]);
    const { status, stderr, stdout } = await world.mint('proxy', 'dev', '22', 'ubuntu');
    assert.equal(status, 1);
    assert.match(
      stderr,
      /there is no \S+ssh\.toml and no Host block \(vm-not-found\)\nmint-ssh: hint: mint-ssh ssh-config dev\n/,
    );
    assert.equal(stdout, '');
    assert.equal(world.agents().length, 0);
    assert.equal(world.file(''), undefined);
  } finally {
    await world.end();
  }
});

/** A port whose SYNs are dropped: a listener that is stopped, with its backlog full. */
async function filteredPort(): Promise<{ readonly port: number; end(): void }> {
  const listener: Child = startChild(
    process.execPath,
    [
      '-e',
      'require("net").createServer().listen({ port: 0, host: "127.0.0.1", backlog: 1 }, function () { console.log(this.address().port) })',
    ],
    {},
    { timeout: 60_000 },
  );
  const port = Number((await listener.until(/^(\d+)\n/))[1]);
  listener.kill('SIGSTOP');
  const fill: Socket[] = [];
  for (let isFull = false; !isFull; ) {
    const socket = connect(port, '127.0.0.1').on('error', () => {});
    fill.push(socket);
    isFull = await Promise.race([once(socket, 'connect').then(() => false), sleep(500, true)]);
  }
  return {
    port,
    end() {
      for (const socket of fill) socket.destroy();
      listener.kill('SIGKILL');
    },
  };
}
