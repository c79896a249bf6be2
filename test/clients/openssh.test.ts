import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { freePort, loginUser, type Sshd, startSshd } from '../openssh/sshd.ts';
import { startUsersAgent, type UsersAgent } from '../openssh/users-agent.ts';
import { makeWorld, type World, waitFor } from '../openssh/world.ts';
import { assertBound } from './bound.ts';

describe('OpenSSH’s forwarding options', { timeout: 300_000 }, () => {
  let world: World;
  let agent: UsersAgent;
  let inner: Sshd;
  let innerConfig: string;
  let greeter: Server;
  let greeterPort: number;
  before(async () => {
    world = await makeWorld();
    agent = await startUsersAgent(world);
    const keys = join(world.directory, 'inner-keys');
    mkdirSync(keys);
    writeFileSync(join(keys, loginUser), `${agent.line}\n`);
    inner = await startSshd({ directory: join(world.directory, 'inner'), authorizedKeys: keys });
    // A host behind the VM, for which mint-ssh has no block: it accepts the user's own key.
    innerConfig = join(world.directory, 'inner_config');
    const lines = [
      `Include ${world.sshConfigFile}`,
      'Host inner',
      '  HostName 127.0.0.1',
      `  Port ${inner.port}`,
      '  StrictHostKeyChecking no',
      '  UserKnownHostsFile /dev/null',
      '  LogLevel ERROR',
    ];
    writeFileSync(innerConfig, `${lines.join('\n')}\n`);
    greeter = createServer((socket) => socket.end('hello from there'));
    await once(greeter.listen(0, '127.0.0.1'), 'listening');
    greeterPort = (greeter.address() as { port: number }).port;
  });
  after(async () => {
    greeter.close();
    await agent.stop();
    await inner.stop({ sessions: true });
    await world.end();
  });

  const ssh = (...args: string[]) =>
    world.run('ssh', ['-F', innerConfig, ...args], { env: { SSH_AUTH_SOCK: agent.socket } });
  const greeting = async (port: number) => {
    const socket = connect(port, '127.0.0.1');
    return Buffer.concat(await socket.toArray()).toString();
  };
  /** The same through SOCKS 5 (RFC 1928): the two replies have 2 and 10 bytes, and may come with what follows them. */
  const greetingThroughSocks = async (port: number) => {
    const socket = connect(port, '127.0.0.1');
    let received = Buffer.alloc(0);
    socket.on('data', (bytes) => {
      received = Buffer.concat([received, bytes]);
    });
    const ended = once(socket, 'end');
    socket.write(Buffer.from([5, 1, 0]));
    await waitFor('the choice of a method', 15_000, () => received.length >= 2);
    const target = Buffer.alloc(2);
    target.writeUInt16BE(greeterPort);
    socket.write(Buffer.concat([Buffer.from([5, 1, 0, 1, 127, 0, 0, 1]), target]));
    await ended;
    return received.subarray(12).toString();
  };

  test('-J: the VM is the jump host to a host behind it, with the user’s own key', async () => {
    const { status, stdout, stderr } = await ssh('-J', 'dev', 'inner', 'echo inside');
    assert.deepEqual([status, stdout, stderr], [0, 'inside\n', '']);
    await assertBound(world, 'dev');
  });

  test('-W: a plain stream to a port behind the VM', async () => {
    const { stdout, stderr } = await ssh('-W', `127.0.0.1:${greeterPort}`, 'dev');
    assert.deepEqual([stdout, stderr], ['hello from there', '']);
  });

  test('-L, -R and -D: forwarded ports, here and there', async () => {
    const [local, remote, socks] = [await freePort(), await freePort(), await freePort()];
    const forwards = [
      ...['-L', `127.0.0.1:${local}:127.0.0.1:${greeterPort}`],
      ...['-R', `127.0.0.1:${remote}:127.0.0.1:${greeterPort}`],
      ...['-D', `127.0.0.1:${socks}`],
    ];
    const session = world.startSsh([...forwards, '-o', 'ExitOnForwardFailure=yes', 'dev', 'echo in; cat'], {
      holdInput: true,
    });
    try {
      await session.until(/in\n/);
      assert.equal(await greeting(local), 'hello from there');
      assert.equal(await greeting(remote), 'hello from there');
      assert.equal(await greetingThroughSocks(socks), 'hello from there');
    } finally {
      session.stdin.end();
    }
    assert.equal((await session.done).status, 0);
  });

  test('autossh brings a tunnel back after its ssh was killed', async () => {
    const local = await freePort();
    const tunnel = world.start(
      'autossh',
      [
        '-M',
        '0',
        '-F',
        world.sshConfigFile,
        '-N',
        '-L',
        `127.0.0.1:${local}:127.0.0.1:${greeterPort}`,
        'dev',
      ],
      { env: { AUTOSSH_GATETIME: '0', AUTOSSH_POLL: '10' } },
    );
    const works = async () => (await greeting(local).catch(() => '')) === 'hello from there';
    const retry = async () => {
      for (let tries = 0; tries < 300; tries += 1) {
        if (await works()) return;
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
      assert.fail('the tunnel does not come up');
    };
    await retry();
    const before = world.sshd('dev').accepted();
    const { stdout } = await world.run('pgrep', ['-P', String(tunnel.pid), '-x', 'ssh']);
    process.kill(Number(stdout), 'SIGKILL');
    await waitFor('another login', 15_000, () => world.sshd('dev').accepted() > before);
    await retry();
    tunnel.kill('SIGTERM');
    await tunnel.done;
  });
});
