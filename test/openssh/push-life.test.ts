import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import {
  type ControlClient,
  controlClient,
  controlPath,
  failure,
  Host,
  keyClient,
  keyPath,
  loginData,
  newSession,
  openRequest,
  proxyConnection,
  seenRequest,
  signed,
} from '../agent/clients.ts';
import { MovableClock } from './faketime.ts';
import { loginUser, makeWorld, mintProgram, type World, waitFor } from './world.ts';

/** A row of `vms` in `agent status --json`. */
interface VmStatus {
  readonly vm: string;
  readonly push_seconds_left: number | null;
  readonly public_key: string | null;
  readonly connections: number;
}

describe('a pushed key', { timeout: 300_000 }, () => {
  let world: World;
  let clock: MovableClock;
  before(async () => {
    world = await makeWorld({
      vms: {
        dev: {},
        slow: { relay: true },
        unsigned: {},
        late: {},
        listed: {},
        two: {},
        refused: {},
        soon: {},
        silent: {},
        pending: {},
      },
    });
    clock = new MovableClock(join(world.home, '.faketimerc'));
    const agent = world.start(mintProgram, ['agent'], { env: clock.environment, timeout: 280_000 });
    await agent.until(/the agent listens on /);
  });
  after(() => world.end());

  /** Moves the clocks of the agent and of the cloud. Those of ssh, sshd and this process are real. */
  function pass(from: number, seconds: number): void {
    clock.set(seconds);
    world.cloud.passTime((seconds - from) * 1000);
  }
  const pushesOf = (vm: string) =>
    world.cloud.pushes.filter(({ instance }) => instance === world.vm(vm).instance);
  async function vmStatus(name: string): Promise<VmStatus> {
    const { stdout } = await world.mint('agent', 'status', '--json');
    const found = (JSON.parse(stdout) as { vms: VmStatus[] }).vms.find(({ vm }) => vm === name);
    assert.ok(found);
    return found;
  }

  test('serves every login of its fifty seconds with the same key', async () => {
    for (const word of ['one', 'two', 'three'])
      assert.equal((await world.ssh('soon', `echo ${word}`)).status, 0);
    assert.equal(pushesOf('soon').length, 1);
    assert.equal(world.sshd('soon').accepted(), 3);
  });

  test('is one key for two users of one VM, pushed for each', async () => {
    const host = new Host();
    const session = newSession();
    const [one, other] = await Promise.all([
      proxyConnection(world, 'two', host, session),
      proxyConnection(world, 'two', host, newSession(), { user: 'nobody' }),
    ]);
    const pushes = pushesOf('two');
    assert.deepEqual(pushes.map(({ user }) => user).sort(), [loginUser, 'nobody'].sort());
    assert.equal(new Set(pushes.map(({ key }) => key)).size, 1);
    const client = await keyClient(keyPath(world, 'two'));
    const [key = Buffer.alloc(0)] = await client.list();
    assert.equal(await client.sign(key, loginData({ session, key })), signed);
    assert.equal(await client.sign(key, loginData({ session, key, user: 'nobody' })), failure);
    client.close();
    await Promise.all([one.close(), other.close()]);
  });

  test('that AWS refused is pushed again by the next login', async () => {
    world.cloud.faults.failNext('AuthException');
    const first = await world.ssh('refused', 'true');
    assert.equal(first.status, 255);
    assert.match(first.stderr, /\(aws-denied\)/);
    assert.equal((await world.ssh('refused', 'true')).status, 0);
    assert.equal(pushesOf('refused').length, 1);
  });

  test('is not reported as pushed before AWS has accepted it', async () => {
    const release = world.cloud.faults.hold();
    const proxy = await controlClient(controlPath(world));
    try {
      proxy.send(openRequest(world, 'pending'));
      await proxy.reply('target');
      assert.equal((await vmStatus('pending')).push_seconds_left, null);
    } finally {
      release();
    }
    proxy.send({ type: 'await-push' });
    await proxy.reply('pushed');
    assert.ok(((await vmStatus('pending')).push_seconds_left ?? 0) > 40);
    await proxy.close();
  });

  test('is good for a minute', async (context) => {
    const host = new Host();
    // An established session; one whose login comes 61 s after its push; three waiting connections.
    const session = world.startSsh(['dev', 'echo in; cat; echo out'], { holdInput: true, timeout: 90_000 });
    await session.until(/in\n/);
    const releaseClient = await slowLogin();

    const unsignedSession = newSession();
    const unsigned = await proxyConnection(world, 'unsigned', host, unsignedSession);
    const silent = await proxyConnection(world, 'silent', host, newSession());
    const late: ControlClient = await controlClient(controlPath(world));
    late.send(openRequest(world, 'late'));
    await late.reply('target');
    late.send(seenRequest(host.blob, host.sign(newSession())));
    await late.reply('host-key-checked');
    // A client that lists before its proxy starts: the VM's socket is there from an earlier connection.
    const earlier = await proxyConnection(world, 'listed', host, newSession());
    await earlier.close();
    const early = await keyClient(keyPath(world, 'listed'));
    const [listedKey = Buffer.alloc(0)] = await early.list();
    const unsignedClient = await keyClient(keyPath(world, 'unsigned'));
    const [unsignedKey = Buffer.alloc(0)] = await unsignedClient.list();

    pass(0, 51);
    await context.test('is pushed again as the same key if a connection took fifty seconds', async () => {
      assert.equal(pushesOf('late').length, 1);
      late.send({ type: 'await-push' });
      await late.reply('pushed');
      const [first, second, ...more] = pushesOf('late');
      assert.ok(first !== undefined && second !== undefined && more.length === 0);
      assert.equal(first.key, second.key);
    });
    pass(51, 62);

    await context.test('logs in no connection when it is sixty seconds old', async () => {
      assert.deepEqual(world.cloud.authorizedKeys(world.vm('slow').instance, loginUser), []);
      const { status, stderr } = await releaseClient();
      assert.equal(status, 255);
      assert.match(stderr, /Permission denied \(publickey\)|login-refused/);
      assert.equal(world.sshd('slow').accepted(), 0);
    });
    await context.test(
      'is not signed with any more, though its session was seen and never signed for',
      async () => {
        const data = loginData({ session: unsignedSession, key: unsignedKey });
        assert.equal(await unsignedClient.sign(unsignedKey, data), failure);
      },
    );
    await context.test('is dropped if no client listed it, although its connection is open', async () => {
      // Its timer runs when the agent next handles an event, and looks again after a second.
      for (let seconds = 62; (await vmStatus('silent')).public_key !== null; seconds += 1) {
        assert.ok(seconds < 110, 'the key was not dropped');
        clock.set(seconds);
      }
      assert.equal((await vmStatus('silent')).connections, 1);
    });
    await context.test('does not affect the session that it opened', async () => {
      session.stdin.write('still here\n');
      await session.until(/still here\n/);
    });
    await context.test('is followed by another push, with a new key if the old one was dropped', async () => {
      assert.equal((await world.ssh('dev', 'true')).status, 0);
      assert.equal(pushesOf('dev').length, 2);
      const again = await proxyConnection(world, 'silent', host, newSession());
      const [first, second] = pushesOf('silent');
      assert.ok(first !== undefined && second !== undefined);
      assert.notEqual(first.key, second.key);
      await again.close();
    });
    await context.test(
      'is kept two minutes for the connection of a client that listed it first',
      async () => {
        const connection = await proxyConnection(world, 'listed', host, newSession());
        const pushed = pushesOf('listed').at(-1)?.key.split(' ')[1];
        assert.equal(pushed, listedKey.toString('base64'));
        await connection.close();
      },
    );

    session.stdin.end();
    assert.equal((await session.done).status, 0);
    early.close();
    unsignedClient.close();
    await Promise.all([unsigned.close(), late.close(), silent.close()]);
  });

  /** A login that is through with the key exchange and then held on its way to the server. */
  async function slowLogin(): Promise<() => Promise<{ status: number | null; stderr: string }>> {
    const { relay } = world.vm('slow');
    assert.ok(relay);
    const release = world.cloud.faults.hold();
    const login = world.startSsh(['-v', 'slow', 'true'], { timeout: 90_000 });
    await login.until(/agent returned 1 keys/);
    const releaseClient = relay.holdClient();
    release();
    await waitFor('the push', 15_000, () => pushesOf('slow').length === 1);
    return () => {
      releaseClient();
      return login.done;
    };
  }
});
