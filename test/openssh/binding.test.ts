import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { after, before, beforeEach, describe, test } from 'node:test';
import { publicKeyBlob } from '../../src/ssh/key-encoding.ts';
import {
  bindMessage,
  type ControlClient,
  controlClient,
  controlPath,
  extensionFailure,
  failure,
  Host,
  type KeyClient,
  keyClient,
  keyPath,
  loginData,
  newSession,
  openRequest,
  proxyConnection,
  seenRequest,
  signed,
  success,
} from '../agent/clients.ts';
import { makeWorld, type World } from './world.ts';

describe('stream binding: the agent signs', { timeout: 300_000 }, () => {
  const host = new Host();
  const otherHost = new Host();
  let world: World;
  let proxy: ControlClient;
  let session: Buffer;
  let client: KeyClient;
  let key: Buffer;
  const opened: ControlClient[] = [];

  before(async () => {
    world = await makeWorld({ vms: { dev: {}, other: {} } });
    await world.ssh('dev', 'true');
    await world.mint('hosts', 'forget', 'dev');
  });
  after(() => world.end());
  beforeEach(async () => {
    for (const each of opened.splice(0)) await each.close();
    client?.close();
    session = newSession();
    proxy = await connection('dev', host, session);
    client = await keyClient(keyPath(world, 'dev'));
    [key = Buffer.alloc(0)] = await client.list();
  });
  after(async () => {
    for (const each of opened) await each.close();
    client.close();
  });

  async function connection(vm: string, of: Host, id: Buffer, more?: object): Promise<ControlClient> {
    const made = await proxyConnection(world, vm, of, id, more);
    opened.push(made);
    return made;
  }

  test('for a session that one of our proxies saw, with and without host-bound data', async () => {
    assert.equal(await client.sign(key, loginData({ session, key })), signed);
    const another = newSession();
    await connection('dev', host, another);
    assert.equal(await client.sign(key, loginData({ session: another, key, hostKey: host.blob })), signed);
  });

  test('once for each session', async () => {
    assert.equal(await client.sign(key, loginData({ session, key })), signed);
    assert.equal(await client.sign(key, loginData({ session, key })), failure);
    assert.equal(await client.sign(key, loginData({ session, key, hostKey: host.blob })), failure);
  });

  test('not for a session id that no proxy has seen', async () => {
    assert.equal(await client.sign(key, loginData({ session: newSession(), key })), failure);
    assert.equal(
      await client.sign(key, loginData({ session: newSession(), key, hostKey: host.blob })),
      failure,
    );
  });

  test('not for a session whose host did not sign it', async () => {
    const stolen = newSession();
    const { socket } = proxy;
    socket.destroy();
    // The pinned key, and a signature of another key.
    const liar = Object.assign(new Host(), { blob: host.blob });
    await connection('dev', liar, stolen);
    assert.equal(await client.sign(key, loginData({ session: stolen, key })), failure);
  });

  test('not for another user', async () => {
    assert.equal(await client.sign(key, loginData({ session, key, user: 'nobody' })), failure);
    assert.equal(await client.sign(key, loginData({ session, key, user: '' })), failure);
  });

  test('not for a session of another VM', async () => {
    const elsewhere = newSession();
    await connection('other', otherHost, elsewhere);
    assert.equal(await client.sign(key, loginData({ session: elsewhere, key })), failure);
    const otherClient = await keyClient(keyPath(world, 'other'));
    const [otherKey = Buffer.alloc(0)] = await otherClient.list();
    assert.notDeepEqual(otherKey, key);
    assert.equal(await otherClient.sign(otherKey, loginData({ session, key: otherKey })), failure);
    assert.equal(await otherClient.sign(otherKey, loginData({ session: elsewhere, key: otherKey })), signed);
    otherClient.close();
  });

  test('not with another key, in the request or in the data', async () => {
    const other = publicKeyBlob(generateKeyPairSync('ed25519').publicKey);
    assert.equal(await client.sign(other, loginData({ session, key })), failure);
    assert.equal(await client.sign(key, loginData({ session, key: other })), failure);
    assert.equal(await client.sign(other, loginData({ session, key: other })), failure);
  });

  test('not if the data is bound to another host key', async () => {
    assert.equal(await client.sign(key, loginData({ session, key, hostKey: otherHost.blob })), failure);
    assert.equal(await client.sign(key, loginData({ session, key, hostKey: Buffer.alloc(0) })), failure);
  });

  test('only a complete login request', async () => {
    const whole = loginData({ session, key });
    for (const data of [
      Buffer.alloc(0),
      session,
      whole.subarray(0, -1),
      Buffer.concat([whole, Buffer.from([0])]),
      Buffer.from('SSHSIG\0\0\0\x04file'),
    ]) {
      assert.equal(await client.sign(key, data), failure);
    }
  });

  test('not once the connection has ended', async () => {
    await proxy.close();
    assert.equal(await client.sign(key, loginData({ session, key })), failure);
  });

  test('not for a connection that was established before, to which no key was pushed', async () => {
    const old = newSession();
    const replayed = await proxyEstablished(old);
    assert.equal(await client.sign(key, loginData({ session: old, key })), failure);
    await replayed.close();
  });

  test('for a client that binds its session, for that session only', async () => {
    assert.equal((await client.ask(bindMessage(host.blob, session, host.sign(session))))[0], success);
    assert.equal(await client.sign(key, loginData({ session, key })), signed);
    const second = newSession();
    await connection('dev', host, second);
    assert.equal(await client.sign(key, loginData({ session: second, key })), failure);
  });

  test('not after a binding that is wrong, malformed or for forwarding', async () => {
    const data = loginData({ session, key });
    for (const bind of [
      bindMessage(host.blob, session, otherHost.sign(session)),
      bindMessage(otherHost.blob, session, host.sign(session)),
      bindMessage(host.blob, session, host.sign(session), true),
      bindMessage(host.blob, session, host.sign(session)).subarray(0, -1),
    ]) {
      const fresh = await keyClient(keyPath(world, 'dev'));
      assert.equal((await fresh.ask(bind))[0], extensionFailure);
      assert.deepEqual(await fresh.list(), []);
      assert.equal(await fresh.sign(key, data), failure);
      fresh.close();
    }
    assert.equal(await client.sign(key, data), signed);
  });

  test('not for a client that is bound to another host, which sees no key either', async () => {
    const bind = bindMessage(otherHost.blob, session, otherHost.sign(session));
    assert.equal((await client.ask(bind))[0], success, 'the binding itself is true');
    assert.deepEqual(await client.list(), []);
    assert.equal(await client.sign(key, loginData({ session, key })), failure);
  });

  test('not for a client that binds two different sessions; binding the same one twice is allowed', async () => {
    const bind = bindMessage(host.blob, session, host.sign(session));
    assert.equal((await client.ask(bind))[0], success);
    assert.equal((await client.ask(bind))[0], success);
    assert.deepEqual(await client.list(), [key]);
    const second = newSession();
    assert.equal((await client.ask(bindMessage(host.blob, second, host.sign(second))))[0], extensionFailure);
    assert.deepEqual(await client.list(), []);
    assert.equal(await client.sign(key, loginData({ session, key })), failure);
  });

  test('under require_binding only for a client that names its session', async () => {
    await world.settings(['require_binding = true']);
    try {
      const second = newSession();
      await connection('dev', host, second);
      assert.deepEqual(await client.list(), []);
      assert.equal(await client.sign(key, loginData({ session: second, key })), failure);
      assert.equal((await client.ask(bindMessage(host.blob, second, host.sign(second))))[0], success);
      assert.deepEqual(await client.list(), [key]);
      assert.equal(await client.sign(key, loginData({ session: second, key })), signed);
      await world.mint('hosts', 'forget', 'other');
      const login = await world.ssh('other', 'echo in');
      assert.equal(login.stdout, 'in\n', `OpenSSH names its sessions: ${login.stderr}`);
    } finally {
      await world.settings([]);
    }
  });

  test('only one host key is taken from one connection', async () => {
    const { hostKey, signature } = {
      hostKey: otherHost.blob.toString('base64'),
      signature: otherHost.sign(session).toString('base64'),
    };
    proxy.send({ type: 'check-host-key', hostKey, signature, host: '127.0.0.1' });
    await assert.rejects(proxy.reply('host-key-checked'), /second host key/);
  });

  async function proxyEstablished(id: Buffer): Promise<ControlClient> {
    const control = await controlClient(controlPath(world));
    opened.push(control);
    control.send(openRequest(world, 'dev', { established: true }));
    await control.reply('target');
    control.send(seenRequest(host.blob, host.sign(id)));
    await control.reply('host-key-checked');
    return control;
  }
});
