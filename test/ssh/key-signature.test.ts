import assert from 'node:assert/strict';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { publicBlob } from '../../src/keys/store/key-type.ts';
import { parseHostKey, verifyHostSignature } from '../../src/ssh/hostkey.ts';
import { signatureFor } from '../../src/ssh/key-signature.ts';

const data = randomBytes(200);

function keyOf(privateKey: ReturnType<typeof generateKeyPairSync>['privateKey']) {
  return { privateKey, blob: publicBlob(privateKey) };
}

test('signatures of every type verify, a hundred of each type with numbers', () => {
  for (const namedCurve of ['P-256', 'P-384', 'P-521']) {
    const key = keyOf(generateKeyPairSync('ec', { namedCurve }).privateKey);
    const { type } = parseHostKey(key.blob);
    // Some numbers begin with a zero byte, or with a set bit.
    for (let at = 0; at < 100; at += 1) {
      const text = Buffer.concat([data, Buffer.of(at)]);
      const signature = signatureFor(key, type, text, 0);
      assert.ok(signature && verifyHostSignature(parseHostKey(key.blob), text, signature), namedCurve);
    }
    for (const other of ['ssh-ed25519', 'rsa-sha2-256', ''])
      assert.equal(signatureFor(key, other, data, 0), undefined);
  }
  const ed25519 = keyOf(generateKeyPairSync('ed25519').privateKey);
  const signature = signatureFor(ed25519, 'ssh-ed25519', data, 0);
  assert.ok(signature && verifyHostSignature(parseHostKey(ed25519.blob), data, signature));
  assert.equal(signatureFor(ed25519, 'rsa-sha2-256', data, 2), undefined);
});

test('an RSA key signs with the hash that both the login and the flags select, never with SHA-1', () => {
  const key = keyOf(generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey);
  for (const [algorithm, flag] of [
    ['rsa-sha2-256', 2],
    ['rsa-sha2-512', 4],
  ] as const) {
    const signature = signatureFor(key, algorithm, data, flag);
    assert.ok(signature && verifyHostSignature(parseHostKey(key.blob), data, signature));
    assert.equal(signature.toString('latin1', 4, 4 + algorithm.length), algorithm);
    assert.equal(signatureFor(key, algorithm, data, 6 - flag), undefined);
  }
  assert.equal(signatureFor(key, 'ssh-rsa', data, 0), undefined);
});
