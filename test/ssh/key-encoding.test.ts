import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { parseHostKey, verifyHostSignature } from '../../src/ssh/hostkey.ts';
import { publicKeyBlob, publicKeyLine } from '../../src/ssh/key-encoding.ts';
import { signatureFor } from '../../src/ssh/key-signature.ts';
import { temporaryDirectory } from './keygen.ts';

test('a public key line has exactly 80 characters, the minimum of Instance Connect', () => {
  const { publicKey } = generateKeyPairSync('ed25519');
  assert.match(publicKeyLine(publicKey), /^ssh-ed25519 AAAAC3NzaC1lZDI1NTE5[A-Za-z0-9+/]{48}$/);
  assert.equal(publicKeyLine(publicKey).length, 80);
});

test('both halves of a pair give the same public key', () => {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519');
  assert.deepEqual(publicKeyBlob(privateKey), publicKeyBlob(publicKey));
});

test('the private half is not exported', () => {
  for (const { privateKey } of [
    generateKeyPairSync('ed25519'),
    generateKeyPairSync('rsa', { modulusLength: 2048 }),
  ]) {
    const expected = publicKeyBlob(privateKey);
    privateKey.export = () => assert.fail('the private half was exported');
    assert.deepEqual(publicKeyBlob(privateKey), expected);
  }
});

test('ssh-keygen reads our line and computes our fingerprint', (t) => {
  const { publicKey } = generateKeyPairSync('ed25519');
  const path = join(temporaryDirectory(t), 'key.pub');
  writeFileSync(path, `${publicKeyLine(publicKey)}\n`);
  const printed = execFileSync('ssh-keygen', ['-l', '-f', path], { encoding: 'utf8' });
  assert.equal(printed.split(' ')[1], parseHostKey(publicKeyBlob(publicKey)).fingerprint);
});

for (const [type, algorithm, flags] of [
  ['ed25519', 'ssh-ed25519', 0],
  ['rsa', 'rsa-sha2-512', 4],
] as const) {
  test(`a signature of an ${type} key verifies with its public key`, () => {
    const { publicKey, privateKey } =
      type === 'ed25519'
        ? generateKeyPairSync('ed25519')
        : generateKeyPairSync('rsa', { modulusLength: 2048 });
    const data = Buffer.from('data');
    const blob = publicKeyBlob(publicKey);
    assert.deepEqual(publicKeyBlob(privateKey), blob);
    const signature = signatureFor({ privateKey, blob }, algorithm, data, flags);
    assert.ok(signature !== undefined);
    assert.equal(verifyHostSignature(parseHostKey(blob), data, signature), true);
  });
}

test('ssh-keygen reads the line of an RSA key', (t) => {
  const { publicKey } = generateKeyPairSync('rsa', { modulusLength: 3072 });
  const path = join(temporaryDirectory(t), 'key.pub');
  writeFileSync(path, `${publicKeyLine(publicKey)}\n`);
  const printed = execFileSync('ssh-keygen', ['-l', '-f', path], { encoding: 'utf8' });
  assert.deepEqual(printed.split(' ').slice(0, 2), [
    '3072',
    parseHostKey(publicKeyBlob(publicKey)).fingerprint,
  ]);
});

test('a key of another type is a programming error', () => {
  const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  assert.throws(() => publicKeyBlob(publicKey), { name: 'TypeError', message: /nor an RSA key/ });
});
