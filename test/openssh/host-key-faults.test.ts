/** What must not happen when a write fails, or when a client is faster than the push. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, rmdirSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  failure,
  Host,
  keyClient,
  keyPath,
  loginData,
  newSession,
  proxyConnection,
  signed,
} from '../agent/clients.ts';
import { clientBanner, init, kexInit, newKeys, reply, serverBanner } from '../ssh/packets.ts';
import { listen } from './impostor.ts';
import { loginUser, makeWorld, mintProgram, waitFor } from './world.ts';

describe('a first key that cannot be recorded', { timeout: 60_000 }, () => {
  test('is not pinned, and nothing is signed for it', async () => {
    const world = await makeWorld();
    try {
      // Starts the agent.
      await world.ssh('dev', 'true');
      await world.mint('hosts', 'forget', 'dev');
      const host = new Host();
      const session = newSession();
      const proxy = await proxyConnection(world, 'dev', host, session);
      const client = await keyClient(keyPath(world, 'dev'));
      const [key = Buffer.alloc(0)] = await client.list();
      const record = join(world.configDir, 'hosts/dev.json');
      mkdirSync(record);
      const answer = await Promise.race([
        client.sign(key, loginData({ session, key })),
        once(client.socket, 'close').then(() => failure),
      ]);
      assert.equal(answer, failure);
      assert.doesNotMatch(world.file('known_hosts') ?? '', /^dev=/m);

      // The disk has room again: the same connection can log in.
      rmdirSync(record);
      const again = await keyClient(keyPath(world, 'dev'));
      assert.equal(await again.sign(key, loginData({ session, key })), signed);
      assert.match(world.file('known_hosts') ?? '', /^dev=/m);
      for (const each of [client, again]) each.close();
      await proxy.close();
    } finally {
      await world.end();
    }
  });
});

describe('a client that does not wait', { timeout: 60_000 }, () => {
  test('is held after its NEWKEYS while the push hangs, even if both arrive in one chunk', async () => {
    const world = await makeWorld({ vms: { dev: { relay: true } } });
    const sent: Buffer[] = [];
    const recorder = await listen((near) => {
      const far = connect(world.sshd('dev').port, '127.0.0.1');
      for (const socket of [near, far]) socket.on('error', () => socket.destroy());
      near.on('data', (chunk: Buffer) => sent.push(chunk));
      near.pipe(far);
      far.pipe(near);
    });
    const { relay } = world.vm('dev');
    assert.ok(relay);
    relay.target = recorder.port;
    const release = world.cloud.faults.of('ec2-instance-connect').hold();
    const proxy = spawn(mintProgram, ['proxy', 'dev', String(world.vm('dev').port), loginUser], {
      env: world.environment,
      stdio: ['pipe', 'pipe', 'ignore'],
    });
    try {
      let received = Buffer.alloc(0);
      proxy.stdout.on('data', (chunk: Buffer) => {
        received = Buffer.concat([received, chunk]);
      });
      proxy.stdin.on('error', () => {});
      proxy.stdin.write(Buffer.concat([clientBanner, kexInit()]));
      await waitFor('KEXINIT', 30_000, () => received.includes('curve25519-sha256') && received.length > 600);
      proxy.stdin.write(init);
      const [, blob = ''] = world.sshd('dev').hostKey.line.split(' ');
      await waitFor('the host key', 30_000, () => received.includes(Buffer.from(blob, 'base64')));
      const early = Buffer.from('what a client sends behind its NEWKEYS');
      proxy.stdin.write(Buffer.concat([newKeys, early]));
      await waitFor('NEWKEYS', 15_000, () => Buffer.concat(sent).includes(newKeys));
      await sleep(500);
      assert.ok(!Buffer.concat(sent).includes(early), 'sent before the push has succeeded');
      release();
      await waitFor('the rest', 15_000, () => Buffer.concat(sent).includes(early));
    } finally {
      release();
      const exited = proxy.exitCode === null ? once(proxy, 'exit') : undefined;
      proxy.stdin.destroy();
      proxy.kill('SIGTERM');
      await exited;
      await recorder.close();
      await world.end();
    }
  });

  test('is told that the connection is over, even if the refused key came with the server’s first bytes', async () => {
    const world = await makeWorld({ vms: { dev: { relay: true } } });
    const first = [clientBanner, kexInit({ follows: true }), init];
    const length = Buffer.concat(first).length;
    const server = await listen((socket) => {
      let received = 0;
      socket.on('error', () => socket.destroy());
      socket.on('data', (chunk: Buffer) => {
        received += chunk.length;
        if (received < length) return;
        socket.write(Buffer.concat([serverBanner, kexInit(), reply(new Host().blob), newKeys]));
      });
    });
    try {
      await world.ssh('dev', 'true');
      const { relay } = world.vm('dev');
      assert.ok(relay);
      relay.target = server.port;
      const words = ['proxy', 'dev', String(world.vm('dev').port), loginUser];
      const child = world.start(mintProgram, words, { holdInput: true });
      child.stdin.on('error', () => {});
      child.stdin.write(Buffer.concat(first));
      const { status, stdout, stderr } = await child.done;
      assert.equal(status, 3, stderr);
      assert.match(stderr, /\(host-key-changed\)/);
      assert.ok(stdout.startsWith(serverBanner.toString()), stdout);
      assert.match(stdout, /mint-ssh has ended the connection/);
    } finally {
      await server.close();
      await world.end();
    }
  });
});
