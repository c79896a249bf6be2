import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseSessionBind, sessionBindName } from '../../src/ssh/session-bind.ts';
import { encodeByte, encodeString } from '../../src/ssh/wire.ts';
import { newHostKey, signature } from './packets.ts';
import { refusal } from './refusal.ts';

const hostKey = newHostKey().blob;
const sessionId = Buffer.alloc(32, 5);
const contents = (isForwarding: number): Buffer =>
  Buffer.concat([...[hostKey, sessionId, signature].map(encodeString), encodeByte(isForwarding)]);

test('has the name that OpenSSH’s PROTOCOL.agent gives it', () => {
  assert.equal(sessionBindName, 'session-bind@openssh.com');
});

test('reads host key, session and signature of a session-bind', () => {
  assert.deepEqual(parseSessionBind(contents(0)), { hostKey, sessionId, signature, isForwarding: false });
  assert.equal(parseSessionBind(contents(1)).isForwarding, true);
});

test('refuses a session-bind that is truncated anywhere', () => {
  const whole = contents(0);
  for (let length = 0; length < whole.length; length++)
    assert.throws(() => parseSessionBind(whole.subarray(0, length)), refusal('not-ssh'));
});

test('refuses a session-bind with a trailing byte', () => {
  assert.throws(() => parseSessionBind(Buffer.concat([contents(0), Buffer.from([0])])), refusal('not-ssh'));
});

test('refuses a forwarding flag that is neither 0 nor 1', () => {
  assert.throws(() => parseSessionBind(contents(2)), refusal('not-ssh'));
});
