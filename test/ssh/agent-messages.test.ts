import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { promisify } from 'node:util';
import {
  AgentFrames,
  extensionFailureReply,
  failureReply,
  identitiesAnswer,
  parseAgentRequest,
  signResponse,
  successReply,
} from '../../src/ssh/agent-messages.ts';
import { publicKeyBlob, publicKeyLine } from '../../src/ssh/key-encoding.ts';
import { encodeByte, encodeString, encodeUint32 } from '../../src/ssh/wire.ts';
import { fc } from '../property.ts';
import { temporaryDirectory } from './keygen.ts';
import { refusal } from './refusal.ts';

const run = promisify(execFile);
const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex');

function ed25519Signature(privateKey: KeyObject, data: Buffer): Buffer {
  return Buffer.concat([encodeString('ssh-ed25519'), encodeString(sign(null, data, privateKey))]);
}

test('refuses a request for identities with extra bytes', () => {
  assert.deepEqual(parseAgentRequest(hex('0b')), { type: 'request-identities' });
  assert.throws(() => parseAgentRequest(hex('0b00')), refusal('not-ssh'));
});

test('a sign request has key, data and flags', () => {
  const message = hex('0d 00000001 61 00000002 6262 00000004');
  assert.deepEqual(parseAgentRequest(message), {
    type: 'sign-request',
    keyBlob: Buffer.from('a'),
    data: Buffer.from('bb'),
    flags: 4,
  });
  assert.throws(() => parseAgentRequest(Buffer.concat([message, hex('00')])), refusal('not-ssh'));
  for (let length = 1; length < message.length; length++)
    assert.throws(() => parseAgentRequest(message.subarray(0, length)), refusal('not-ssh'));
});

test('reads the name of an extension, and leaves its contents unparsed', () => {
  assert.deepEqual(parseAgentRequest(hex('1b 00000001 61 ffff')), {
    type: 'extension',
    name: 'a',
    contents: hex('ffff'),
  });
  assert.deepEqual(parseAgentRequest(hex('1b 00000001 61')), {
    type: 'extension',
    name: 'a',
    contents: Buffer.alloc(0),
  });
  assert.throws(() => parseAgentRequest(hex('1b 00000002 61')), refusal('not-ssh'));
  assert.throws(() => parseAgentRequest(hex('1b 00000001 ff')), refusal('not-ssh'));
});

test('reports every other message number as unsupported', () => {
  for (let number = 0; number < 256; number++) {
    if ([11, 13, 27].includes(number)) continue;
    assert.deepEqual(parseAgentRequest(Buffer.from([number, 1, 2, 3])), { type: 'unsupported', number });
  }
});

test('refuses an empty message', () => {
  assert.throws(() => parseAgentRequest(Buffer.alloc(0)), refusal('not-ssh'));
});

test('encodes replies as the protocol prescribes', () => {
  assert.deepEqual(failureReply(), hex('00000001 05'));
  assert.deepEqual(successReply(), hex('00000001 06'));
  assert.deepEqual(extensionFailureReply(), hex('00000001 1c'));
  assert.deepEqual(identitiesAnswer([]), hex('00000005 0c 00000000'));
  assert.deepEqual(
    identitiesAnswer([{ keyBlob: Buffer.from('k'), comment: 'ä' }]),
    hex('00000010 0c 00000001 00000001 6b 00000002 c3a4'),
  );
  assert.deepEqual(signResponse(Buffer.from('s')), hex('00000006 0e 00000001 73'));
});

test('returns the same messages for every split of the stream', () => {
  const arbitraryMessages = fc.array(fc.uint8Array({ minLength: 1, maxLength: 300 }), { maxLength: 20 });
  fc.assert(
    fc.property(
      arbitraryMessages,
      fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 1 }),
      (messages, cuts) => {
        const stream = Buffer.concat(messages.map((bytes) => encodeString(bytes)));
        const frames = new AgentFrames();
        const received: Buffer[] = [];
        for (let at = 0, cut = 0; at < stream.length; cut++) {
          const length = cuts[cut % cuts.length] ?? 1;
          received.push(...frames.push(stream.subarray(at, at + length)));
          at += length;
        }
        assert.deepEqual(
          received,
          messages.map((bytes) => Buffer.from(bytes)),
        );
        assert.equal(frames.midMessage, false);
      },
    ),
  );
});

test('keeps the bytes of a message when the caller reuses its buffer', () => {
  const chunk = encodeString('first');
  const [first] = new AgentFrames().push(chunk);
  chunk.fill(0);
  assert.equal(first?.toString(), 'first');
});

test('accepts a message of 256 KiB, and refuses one byte more', () => {
  const most = Buffer.alloc(256 * 1024, 1);
  assert.equal(new AgentFrames().push(encodeString(most))[0]?.length, most.length);
  assert.throws(() => new AgentFrames().push(encodeUint32(most.length + 1)), refusal('not-ssh'));
  assert.throws(() => new AgentFrames().push(hex('7fffffff')), refusal('not-ssh'));
  assert.throws(() => new AgentFrames().push(hex('ffffffff')), refusal('not-ssh'));
});

test('refuses an empty frame, also if its length arrives byte by byte', () => {
  assert.throws(() => new AgentFrames().push(hex('00000000')), refusal('not-ssh'));
  const frames = new AgentFrames();
  for (let count = 0; count < 3; count++) assert.deepEqual(frames.push(hex('00')), []);
  assert.throws(() => frames.push(hex('00')), refusal('not-ssh'));
});

test('allocates no memory for an announced length before the bytes arrive', () => {
  const before = process.memoryUsage().arrayBuffers;
  const all = Array.from({ length: 1000 }, () => {
    const frames = new AgentFrames();
    frames.push(Buffer.concat([encodeUint32(256 * 1024), encodeByte(13)]));
    return frames;
  });
  assert.ok(all.every((frames) => frames.midMessage));
  assert.ok(process.memoryUsage().arrayBuffers - before < 1024 * 1024);
});

test('reads 256 KiB byte by byte in linear time', () => {
  const frames = new AgentFrames();
  const stream = encodeString(Buffer.alloc(256 * 1024, 1));
  const begin = performance.now();
  for (let at = 0; at < stream.length - 1; at++)
    assert.equal(frames.push(stream.subarray(at, at + 1)).length, 0);
  assert.equal(frames.push(stream.subarray(-1)).length, 1);
  assert.ok(performance.now() - begin < 15_000);
});

/** An agent with one key, made only of the functions under test. */
async function serve(t: TestContext, privateKey: KeyObject, comment: string): Promise<string> {
  const path = join(temporaryDirectory(t), 'agent.sock');
  const keyBlob = publicKeyBlob(privateKey);
  const server = createServer((socket) => {
    const frames = new AgentFrames();
    socket.on('error', () => {});
    socket.on('data', (chunk) => {
      for (const message of frames.push(chunk)) {
        const request = parseAgentRequest(message);
        if (request.type === 'request-identities') socket.write(identitiesAnswer([{ keyBlob, comment }]));
        else if (request.type === 'sign-request') {
          assert.deepEqual(request.keyBlob, keyBlob);
          socket.write(signResponse(ed25519Signature(privateKey, request.data)));
        } else socket.write(failureReply());
      }
    });
  }).listen(path);
  await once(server, 'listening');
  t.after(() => server.close());
  return path;
}

test('ssh-add lists our key, and ssh-keygen signs with it', async (t) => {
  const { privateKey } = generateKeyPairSync('ed25519');
  const directory = temporaryDirectory(t);
  const env = { ...process.env, SSH_AUTH_SOCK: await serve(t, privateKey, 'mint-ssh dev') };
  const listed = await run('ssh-add', ['-L'], { env });
  assert.equal(listed.stdout, `${publicKeyLine(privateKey)} mint-ssh dev\n`);
  const key = join(directory, 'key.pub');
  const data = join(directory, 'data');
  writeFileSync(key, publicKeyLine(privateKey));
  writeFileSync(data, 'data');
  await run('ssh-keygen', ['-q', '-Y', 'sign', '-n', 'test', '-f', key, data], { env });
  const allowed = join(directory, 'allowed');
  writeFileSync(allowed, `me ${publicKeyLine(privateKey)}\n`);
  const verify = ['-Y', 'verify', '-f', allowed, '-I', 'me', '-n', 'test', '-s', `${data}.sig`];
  const verified = run('ssh-keygen', verify);
  verified.child.stdin?.end('data');
  assert.match((await verified).stdout, /^Good "test" signature for me/);
});

test('answers ssh-add with a failure when it adds a key', async (t) => {
  const { privateKey } = generateKeyPairSync('ed25519');
  const env = { ...process.env, SSH_AUTH_SOCK: await serve(t, privateKey, 'x') };
  await assert.rejects(run('ssh-add', ['-D'], { env }), /Failed to remove all identities/);
});
