import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { encodeByte, encodeString, encodeUint32 } from '../../src/ssh/wire.ts';
import { makeWorld, type World } from '../openssh/world.ts';
import {
  connected,
  controlClient,
  controlPath,
  extensionFailure,
  failure,
  keyClient,
  keyPath,
  openRequest,
} from './clients.ts';
import { garbageMegabytes, megabytes } from './memory.ts';

describe('the agent’s sockets', { timeout: 300_000 }, () => {
  let world: World;
  before(async () => {
    world = await makeWorld({ vms: { dev: {}, other: {} } });
    assert.equal((await world.ssh('dev', 'true')).status, 0);
  });
  after(() => world.end());

  const sshAdd = (...args: string[]) => {
    const env = { SSH_AUTH_SOCK: keyPath(world, 'dev') };
    return world.start('ssh-add', args, { env }).done;
  };

  test('ssh-add lists exactly one key, the one in the status', async () => {
    const short = await sshAdd('-l');
    assert.equal(short.status, 0, short.stderr);
    assert.match(short.stdout, /^256 SHA256:\S{43} mint-ssh dev \(ED25519\)\n$/);
    const { stdout } = await sshAdd('-L');
    const status = JSON.parse((await world.mint('agent', 'status', '--json')).stdout);
    assert.equal(stdout, `${status.vms[0].public_key} mint-ssh dev\n`);
  });

  test('requests that change or lock an agent get a failure reply, and change nothing', async () => {
    const before = (await sshAdd('-l')).stdout;
    const key = join(world.directory, 'a-key');
    await world.run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', key]);
    for (const args of [
      ['-D'],
      ['-d', key],
      [key],
      ['-c', key],
      ['-t', '60', key],
      ['-e', '/dev/null'],
      ['-s', '/dev/null'],
    ]) {
      const { status, stderr } = await sshAdd(...args);
      assert.notEqual(status, 0, args.join(' '));
      assert.doesNotMatch(stderr, /communication|connection|invalid/i, args.join(' '));
    }
    const askpass = join(world.directory, 'askpass');
    writeFileSync(askpass, '#!/bin/sh\necho secret\n', { mode: 0o700 });
    const env = { SSH_AUTH_SOCK: keyPath(world, 'dev'), SSH_ASKPASS: askpass, SSH_ASKPASS_REQUIRE: 'force' };
    const lock = await world.start('setsid', ['-w', 'ssh-add', '-x'], { env }).done;
    assert.notEqual(lock.status, 0);
    assert.equal((await sshAdd('-l')).stdout, before);
  });

  test('ssh-keygen gets no signature over a file with the key', async () => {
    const { stdout } = await sshAdd('-L');
    const file = join(world.directory, 'a.pub');
    writeFileSync(file, stdout);
    const env = { SSH_AUTH_SOCK: keyPath(world, 'dev') };
    const args = ['-Y', 'sign', '-n', 'file', '-f', file];
    const { status, stdout: signature } = await world.start('ssh-keygen', args, { env, input: 'text' }).done;
    assert.notEqual(status, 0);
    assert.equal(signature, '');
  });

  test('answers every other message number with failure, and keeps the connection', async () => {
    const client = await keyClient(keyPath(world, 'dev'));
    for (let number = 0; number < 256; number += 1) {
      if (number === 11 || number === 13 || number === 27) continue;
      assert.deepEqual(
        await client.ask(encodeByte(number), randomBytes(9)),
        Buffer.from([failure]),
        `${number}`,
      );
    }
    const query = await client.ask(encodeByte(27), encodeString('query'));
    assert.equal(query[0], extensionFailure);
    assert.equal((await client.list()).length, 1);
    client.close();
  });

  const malformed: Record<string, Buffer> = {
    'an empty message': encodeUint32(0),
    'a length beyond the limit': encodeUint32(256 * 1024 + 1),
    'the greatest length there is': encodeUint32(0xffffffff),
    'a sign request that ends early': encodeString(Buffer.concat([encodeByte(13), encodeUint32(99)])),
    'a list request with more behind it': encodeString(Buffer.from([11, 0])),
    'an extension without a name': encodeString(encodeByte(27)),
    text: Buffer.from('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n'),
  };
  for (const [what, bytes] of Object.entries(malformed)) {
    test(`${what} ends that connection, and no other`, async () => {
      const bystander = await keyClient(keyPath(world, 'dev'));
      const socket = await connected(keyPath(world, 'dev'));
      const closed = once(socket, 'close');
      socket.resume().write(bytes);
      await closed;
      assert.equal((await bystander.list()).length, 1);
      bystander.close();
    });
  }

  const nonsense: Record<string, string> = {
    'no JSON': 'hello\n',
    'no object': '[1]\n',
    'no type': '{}\n',
    'an unknown type': '{"type":"push"}\n',
    'an open without an environment': '{"type":"open","version":1,"vm":"dev"}\n',
    'an open with a number for a name': '{"type":"open","version":1,"vm":7,"environment":{}}\n',
    'a variable that is not text': '{"type":"open","version":1,"vm":"dev","environment":{"A":1}}\n',
    'a line without an end': 'x'.repeat(257 * 1024),
    'a nest of brackets': `${'['.repeat(200_000)}\n`,
    'bytes that are not UTF-8': '\u0000\u00ff\u00fe\n',
  };
  for (const [what, text] of Object.entries(nonsense)) {
    test(`on the control socket ${what} ends that connection, and no other`, async () => {
      const bystander = await controlClient(controlPath(world));
      const socket = await connected(controlPath(world));
      const closed = once(socket, 'close');
      socket.resume().write(Buffer.from(text, 'latin1'));
      await closed;
      bystander.send({ type: 'status' });
      await bystander.reply('status');
      await bystander.close();
    });
  }

  test('a request before `open`, a second `open` and one of another version are refused', async () => {
    const client = await controlClient(controlPath(world));
    for (const type of [
      'check-host-key',
      'retarget',
      'await-push',
      'client-accepted-host',
      'explain-refusal',
    ]) {
      client.send({ type, hostKey: '', signature: '', host: '' });
      await assert.rejects(client.reply('target'), /before `open`/);
    }
    client.send(openRequest(world, 'dev', { version: 1 }));
    await assert.rejects(client.reply('target'), /another version/);
    client.send(openRequest(world, 'dev'));
    await client.reply('target');
    client.send(openRequest(world, 'other'));
    await assert.rejects(client.reply('target'), /a second `open`/);
    await client.close();
  });

  test('a client that sends `ready` before the target is resolved does not end the agent', async () => {
    assert.equal((await world.mint('job', 'begin', 'build-7')).status, 0);
    const client = await controlClient(controlPath(world));
    client.send(openRequest(world, 'build-7'));
    client.send({ type: 'await-push' });
    await assert.rejects(client.reply('target'), /has no address yet/);
    const { stdout } = await world.mint('job', 'list', '--json');
    assert.equal(JSON.parse(stdout)[0].state, 'open', stdout);
    await client.close();
    assert.equal((await world.mint('job', 'end', 'build-7')).status, 0);
  });

  test('refuses an open for an invalid name, an unknown VM or an invalid port', async () => {
    for (const [vm, more, code] of [
      ['../x', {}, 'bad-vm-name'],
      ['nobody', {}, 'vm-not-found'],
      ['dev', { port: 70_000 }, 'agent-unavailable'],
      ['dev', { port: 1.5 }, 'agent-unavailable'],
    ] as const) {
      const client = await controlClient(controlPath(world));
      client.send(openRequest(world, vm, more));
      await assert.rejects(
        client.reply('target'),
        new RegExp(code === 'agent-unavailable' ? 'closed' : code),
      );
      await client.close();
    }
  });

  test('refuses a malformed host key, and writes no key', async () => {
    const client = await controlClient(controlPath(world));
    client.send(openRequest(world, 'other'));
    await client.reply('target');
    client.send({
      type: 'check-host-key',
      hostKey: Buffer.from('nonsense').toString('base64'),
      signature: '',
      host: '127.0.0.1',
    });
    await assert.rejects(client.reply('host-key-checked'), /not-ssh/);
    await client.close();
    // The block of the VM names the file, so it exists, with no key in it.
    assert.equal(world.file('hosts/other.known_hosts') ?? '', '');
    assert.equal(world.file('hosts/other.json'), undefined);
    assert.doesNotMatch(world.file('known_hosts') ?? '', /^other=/m);
  });

  test('a client that never reads does not affect the others', async () => {
    const { pid } = JSON.parse((await world.mint('agent', 'status', '--json')).stdout);
    const before = megabytes(pid);
    const ask = encodeString(encodeByte(11));
    const greedy = await connected(keyPath(world, 'dev'));
    const status = await connected(controlPath(world));
    const questions = Buffer.concat(Array.from({ length: 10_000 }, () => ask));
    const lines = '{"type":"status"}\n'.repeat(3000);
    for (let round = 0; round < 200; round += 1) {
      greedy.write(questions);
      status.write(lines);
    }
    await new Promise((resolve) => setTimeout(resolve, 1500));
    const client = await keyClient(keyPath(world, 'dev'));
    assert.equal((await client.list()).length, 1);
    client.close();
    const grown = megabytes(pid) - before;
    assert.ok(greedy.writableLength > 0 && status.writableLength > 0, 'the agent took it all');
    greedy.destroy();
    status.destroy();
    // All the answers together have more than 260 MB.
    assert.ok(grown < garbageMegabytes, `${grown} MB`);
    assert.equal((await world.ssh('dev', 'true')).status, 0);
  });
});
