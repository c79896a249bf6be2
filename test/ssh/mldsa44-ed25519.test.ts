import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { keyTypeOf } from '../../src/ssh/host-key-algorithm.ts';
import { parseHostKey, verifyHostSignature } from '../../src/ssh/hostkey.ts';
import { encodeString, WireReader } from '../../src/ssh/wire.ts';
import { refusal } from './refusal.ts';

const type = 'ssh-mldsa44-ed25519@openssh.com';

/** A key, and its signature over `data`, that OpenSSH 10.5p1 made. */
const golden = JSON.parse(
  readFileSync(join(import.meta.dirname, 'fixtures/mldsa44-ed25519.json'), 'utf8'),
) as {
  readonly blob: string;
  readonly data: string;
  readonly signature: string;
  readonly fingerprint: string;
};
const blob = Buffer.from(golden.blob, 'base64');
const data = Buffer.from(golden.data);
const signature = Buffer.from(golden.signature, 'base64');

test('a composite key has the type and the fingerprint that OpenSSH prints', () => {
  const key = parseHostKey(blob);
  assert.equal(key.type, type);
  assert.equal(key.fingerprint, golden.fingerprint);
  assert.equal(keyTypeOf(type), type);
});

test('a signature by OpenSSH verifies for its own data and key only', () => {
  assert.equal(verifyHostSignature(parseHostKey(blob), data, signature), true);
  assert.equal(verifyHostSignature(parseHostKey(blob), Buffer.from('other data'), signature), false);
});

test('a signature fails if either half of it, or of the key, is wrong', () => {
  const reader = new WireReader(signature);
  const name = reader.string();
  const bytes = reader.string();
  for (const at of [0, 1210, 2419, 2420, 2450, 2483]) {
    const changed = Buffer.from(bytes);
    changed[at] = (changed[at] ?? 0) ^ 1;
    const wrong = Buffer.concat([encodeString(name), encodeString(changed)]);
    assert.equal(verifyHostSignature(parseHostKey(blob), data, wrong), false, `byte ${at}`);
  }
  for (const at of [blob.length - 1, blob.length - 40]) {
    const changed = Buffer.from(blob);
    changed[at] = (changed[at] ?? 0) ^ 1;
    assert.equal(verifyHostSignature(parseHostKey(changed), data, signature), false, `byte ${at} of the key`);
  }
});

test('refuses a key whose Ed25519 half has a small order', () => {
  const weak = Buffer.concat([blob.subarray(0, -32), Buffer.alloc(32)]);
  assert.throws(() => parseHostKey(weak), refusal('not-ssh'));
});

test('refuses a key or a signature of another length', () => {
  const key = (bytes: number) => Buffer.concat([encodeString(type), encodeString(Buffer.alloc(bytes))]);
  for (const bytes of [0, 32, 1312, 1343, 1345])
    assert.throws(() => parseHostKey(key(bytes)), refusal('not-ssh'));
  assert.throws(() => parseHostKey(Buffer.concat([blob, Buffer.of(0)])), refusal('not-ssh'));
  for (const bytes of [0, 64, 2420, 2483, 2485]) {
    const wrong = Buffer.concat([encodeString(type), encodeString(Buffer.alloc(bytes))]);
    assert.equal(verifyHostSignature(parseHostKey(blob), data, wrong), false);
  }
  const otherName = Buffer.concat([encodeString('ssh-ed25519'), signature.subarray(4 + type.length)]);
  assert.equal(verifyHostSignature(parseHostKey(blob), data, otherName), false);
});
