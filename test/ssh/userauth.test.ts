import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseUserauthRequest } from '../../src/ssh/userauth.ts';
import { encodeByte, encodeString } from '../../src/ssh/wire.ts';
import { fc } from '../property.ts';
import { newHostKey } from './packets.ts';

const { blob } = newHostKey();
const hostKey = newHostKey().blob;
const sessionId = Buffer.alloc(32, 5);
const hostbound = 'publickey-hostbound-v00@openssh.com';

interface Fields {
  readonly sessionId?: Buffer;
  readonly number?: number;
  readonly user?: Buffer | string;
  readonly service?: string;
  readonly method?: string;
  readonly signed?: number;
  readonly behind?: Buffer;
}

function request(fields: Fields = {}): Buffer {
  return Buffer.concat([
    encodeString(fields.sessionId ?? sessionId),
    encodeByte(fields.number ?? 50),
    encodeString(fields.user ?? 'ubuntu'),
    encodeString(fields.service ?? 'ssh-connection'),
    encodeString(fields.method ?? 'publickey'),
    encodeByte(fields.signed ?? 1),
    encodeString('ssh-ed25519'),
    encodeString(blob),
    fields.behind ?? Buffer.alloc(0),
  ]);
}

test('reads a publickey request field by field', () => {
  assert.deepEqual(parseUserauthRequest(request()), {
    sessionId,
    user: 'ubuntu',
    service: 'ssh-connection',
    method: 'publickey',
    algorithm: 'ssh-ed25519',
    publicKey: blob,
  });
});

test('reads the host key at the end of a hostbound request', () => {
  const parsed = parseUserauthRequest(request({ method: hostbound, behind: encodeString(hostKey) }));
  assert.equal(parsed?.method, hostbound);
  assert.deepEqual(parsed?.hostKey, hostKey);
});

for (const length of [20, 32, 48, 64]) {
  test(`a session id of ${length} bytes is accepted`, () => {
    assert.notEqual(parseUserauthRequest(request({ sessionId: Buffer.alloc(length) })), undefined);
  });
}

const others: readonly [string, Buffer][] = [
  ['a session id of 31 bytes', request({ sessionId: Buffer.alloc(31) })],
  ['an empty session id', request({ sessionId: Buffer.alloc(0) })],
  ['another message number', request({ number: 51 })],
  ['another service', request({ service: 'ssh-userauth' })],
  ['another method', request({ method: 'hostbased' })],
  ['another method with a host key', request({ method: 'hostbased', behind: encodeString(hostKey) })],
  ['a request that only asks whether a key would do', request({ signed: 0 })],
  ['a boolean that is 2', request({ signed: 2 })],
  ['a user name that is not UTF-8', request({ user: Buffer.from([0xff]) })],
  ['a byte behind its end', request({ behind: Buffer.from([0]) })],
  ['a host key in a request that is not hostbound', request({ behind: encodeString(hostKey) })],
  ['no host key in a hostbound request', request({ method: hostbound })],
  [
    'a byte behind the host key',
    request({ method: hostbound, behind: Buffer.concat([encodeString(hostKey), Buffer.from([0])]) }),
  ],
  ['nothing', Buffer.alloc(0)],
  ['an SSHSIG blob', Buffer.concat([Buffer.from('SSHSIG'), encodeString('git'), encodeString('')])],
];
for (const [what, data] of others) {
  test(`refuses as a userauth request: ${what}`, () => {
    assert.equal(parseUserauthRequest(data), undefined);
  });
}

test('refuses a request that is truncated anywhere', () => {
  const whole = request({ method: hostbound, behind: encodeString(hostKey) });
  for (let length = 0; length < whole.length; length++)
    assert.equal(parseUserauthRequest(whole.subarray(0, length)), undefined);
});

test('refuses random bytes without throwing', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      assert.equal(parseUserauthRequest(Buffer.from(bytes)), undefined);
    }),
  );
});
