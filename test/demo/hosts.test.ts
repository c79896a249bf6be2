import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import ssh2, { type ConnectConfig } from 'ssh2';
import { type Host, makeHostKey, startHost } from '../../src/demo/hosts.ts';

const key = makeHostKey();
const strangersKey = makeHostKey();
const lines: string[] = [];
let host: Host;

before(async () => {
  const authorizedKeys = (instance: string, user: string) =>
    instance === 'i-0123456789abcdef0' && user === 'ubuntu' ? lines : [];
  host = await startHost({ name: 'dev', instance: 'i-0123456789abcdef0', cloud: { authorizedKeys } });
});
after(() => host.close());

interface Answer {
  readonly stdout: string;
  readonly status: number | undefined;
}

/** Runs one command with ssh2's client; rejects if the login fails. */
function say(command: string | undefined, settings: ConnectConfig = {}): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const client = new ssh2.Client();
    client.on('error', reject);
    client.on('ready', () => {
      const answered = (error: Error | undefined, channel: ssh2.ClientChannel) => {
        if (error !== undefined) return reject(error);
        let stdout = '';
        let status: number | undefined;
        channel.on('data', (chunk: Buffer) => {
          stdout += chunk;
        });
        channel.on('exit', (code: number) => {
          status = code;
        });
        channel.on('close', () => {
          client.end();
          resolve({ stdout, status });
        });
      };
      if (command === undefined) client.shell(answered);
      else client.exec(command, answered);
    });
    const target = { host: '127.0.0.1', port: host.port, username: 'ubuntu', privateKey: key.private };
    client.connect({ ...target, ...settings });
  });
}

test('a host accepts a key while the cloud says that it is valid, for that user', async () => {
  await assert.rejects(say('true'), /authentication/);
  lines.push(key.public);
  assert.deepEqual(await say('true'), { stdout: '', status: 0 });
  await assert.rejects(say('true', { username: 'root' }), /authentication/);
  await assert.rejects(say('true', { privateKey: strangersKey.private }), /authentication/);
  await assert.rejects(say('true', { password: 'x', privateKey: '' }));
  lines.pop();
  await assert.rejects(say('true'), /authentication/);
});

test('a host answers a few commands and runs nothing', async () => {
  lines.push(key.public);
  assert.deepEqual(await say('hostname'), { stdout: 'dev\n', status: 0 });
  assert.deepEqual(await say('echo two  words'), { stdout: 'two  words\n', status: 0 });
  assert.equal((await say('uptime')).status, 0);
  assert.equal((await say('touch /tmp/never')).status, 127);
  assert.match((await say(undefined)).stdout, /Welcome to dev/);
});

test('a recreated host has another key on the same port', async () => {
  const fingerprints: string[] = [];
  const hostVerifier = (hash: string) => {
    fingerprints.push(`SHA256:${Buffer.from(hash, 'hex').toString('base64').replace(/=+$/, '')}`);
    return true;
  };
  const watched = { hostHash: 'sha256', hostVerifier };
  const { port, fingerprint } = host;
  await say('true', watched);
  host.recreate();
  await say('true', watched);
  assert.equal(host.port, port);
  assert.notEqual(host.fingerprint, fingerprint);
  assert.deepEqual(fingerprints, [fingerprint, host.fingerprint]);
});

test('a client that disconnects in the middle does not affect the host', async () => {
  const { Socket } = await import('node:net');
  for (const bytes of ['', 'SSH-2.0-x\r\n', 'GET / HTTP/1.1\r\n\r\n', '\0'.repeat(50_000)]) {
    const socket = new Socket();
    socket.on('error', () => {});
    await new Promise<void>((resolve) => socket.connect(host.port, '127.0.0.1', resolve));
    socket.write(bytes);
    await new Promise((resolve) => setTimeout(resolve, 50));
    socket.resetAndDestroy();
  }
  assert.equal((await say('true')).status, 0);
});

test('ssh2 reads every host key, which is not true of the keys that ssh2 makes', () => {
  for (let count = 0; count < 1000; count += 1)
    assert.ok(!(ssh2.utils.parseKey(makeHostKey().private) instanceof Error));
});
