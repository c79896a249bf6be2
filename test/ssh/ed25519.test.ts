import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { publicKeyBlob, publicKeyLine, signatureBlob } from '../../src/ssh/ed25519.ts';
import { parseHostKey, verifyHostSignature } from '../../src/ssh/hostkey.ts';
import { temporaryDirectory } from './keygen.ts';

test('a public key line is exactly 80 characters, the least that Instance Connect takes', () => {
  const { publicKey } = generateKeyPairSync('ed25519');
  assert.match(publicKeyLine(publicKey), /^ssh-ed25519 AAAAC3NzaC1lZDI1NTE5[A-Za-z0-9+/]{48}$/);
  assert.equal(publicKeyLine(publicKey).length, 80);
});

test('both halves of a pair give the same public key', () => {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519');
  assert.deepEqual(publicKeyBlob(privateKey), publicKeyBlob(publicKey));
});

test('ssh-keygen reads our line and computes our fingerprint', (t) => {
  const { publicKey } = generateKeyPairSync('ed25519');
  const path = join(temporaryDirectory(t), 'key.pub');
  writeFileSync(path, `${publicKeyLine(publicKey)}\n`);
  const printed = execFileSync('ssh-keygen', ['-l', '-f', path], { encoding: 'utf8' });
  assert.equal(printed.split(' ')[1], parseHostKey(publicKeyBlob(publicKey)).fingerprint);
});

test('a signature verifies with the public key', () => {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519');
  const data = Buffer.from('data');
  const key = parseHostKey(publicKeyBlob(publicKey));
  assert.equal(verifyHostSignature(key, data, signatureBlob(privateKey, data)), true);
});

test('a key of another kind is a mistake of the caller', () => {
  const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  assert.throws(() => publicKeyBlob(publicKey), TypeError);
});
