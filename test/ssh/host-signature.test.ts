/** Keys and signatures of the machine's own OpenSSH. Recorded ones are in hostkey.test.ts. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { type TestContext, test } from 'node:test';
import { parseHostKey, verifyHostSignature } from '../../src/ssh/hostkey.ts';
import { encodeString, WireReader } from '../../src/ssh/wire.ts';
import { fc } from '../property.ts';
import { generateKey, readBlob, signWithAgent, temporaryDirectory } from './keygen.ts';

const kinds = [
  ['-t ed25519', 'ssh-ed25519'],
  ['-t ecdsa -b 256', 'ecdsa-sha2-nistp256'],
  ['-t ecdsa -b 384', 'ecdsa-sha2-nistp384'],
  ['-t ecdsa -b 521', 'ecdsa-sha2-nistp521'],
  ['-t rsa -b 2048', 'ssh-rsa'],
] as const;

for (const [options, type] of kinds) {
  test(`a key of ssh-keygen ${options} has the type and fingerprint that ssh-keygen prints`, (t) => {
    const path = generateKey(temporaryDirectory(t), options);
    const key = parseHostKey(readBlob(path));
    assert.equal(key.type, type);
    assert.match(key.fingerprint, /^SHA256:[A-Za-z0-9+/]{43}$/);
    const printed = execFileSync('ssh-keygen', ['-l', '-f', path], { encoding: 'utf8' });
    assert.equal(printed.split(' ')[1], key.fingerprint);
  });
}

async function signed(t: TestContext, options: string, flags: number) {
  const path = generateKey(temporaryDirectory(t), options);
  const data = Buffer.from('an exchange hash of thirty-two b');
  const signature = await (await signWithAgent(t, path))(data, flags);
  return { key: parseHostKey(readBlob(path)), data, signature };
}

const SSH_AGENT_RSA_SHA2_256 = 2;
const SSH_AGENT_RSA_SHA2_512 = 4;
const signings = [
  ['-t ed25519', 0, 'ssh-ed25519'],
  ['-t ecdsa -b 256', 0, 'ecdsa-sha2-nistp256'],
  ['-t ecdsa -b 384', 0, 'ecdsa-sha2-nistp384'],
  ['-t ecdsa -b 521', 0, 'ecdsa-sha2-nistp521'],
  ['-t rsa -b 2048', SSH_AGENT_RSA_SHA2_256, 'rsa-sha2-256'],
  ['-t rsa -b 3072', SSH_AGENT_RSA_SHA2_512, 'rsa-sha2-512'],
] as const;

for (const [options, flags, algorithm] of signings) {
  test(`a ${algorithm} signature by OpenSSH is accepted for its own data and key only`, async (t) => {
    const { key, data, signature } = await signed(t, options, flags);
    assert.equal(new WireReader(signature).text(), algorithm);
    assert.equal(verifyHostSignature(key, data, signature), true);
    assert.equal(verifyHostSignature(key, Buffer.from('other data'), signature), false);
    const other = parseHostKey(readBlob(generateKey(temporaryDirectory(t), options)));
    assert.equal(verifyHostSignature(other, data, signature), false);
  });

  test(`a ${algorithm} signature is refused with any byte changed, cut off or added`, async (t) => {
    const { key, data, signature } = await signed(t, options, flags);
    fc.assert(
      fc.property(fc.nat(signature.length - 1), fc.integer({ min: 1, max: 255 }), (at, difference) => {
        const changed = Buffer.from(signature);
        changed[at] = (changed[at] ?? 0) ^ difference;
        assert.equal(verifyHostSignature(key, data, changed), false);
      }),
    );
    for (let length = 0; length < signature.length; length += 7)
      assert.equal(verifyHostSignature(key, data, signature.subarray(0, length)), false);
    assert.equal(verifyHostSignature(key, data, Buffer.concat([signature, Buffer.from([0])])), false);
  });
}

test('fifty ecdsa signatures verify, also with shortened numbers', async (t) => {
  const path = generateKey(temporaryDirectory(t), '-t ecdsa -b 521');
  const sign = await signWithAgent(t, path);
  const key = parseHostKey(readBlob(path));
  for (let count = 0; count < 50; count++) {
    const data = Buffer.from(`hash ${count}`);
    assert.equal(verifyHostSignature(key, data, await sign(data)), true);
  }
});

test('an ssh-rsa signature, which is SHA-1, is refused', async (t) => {
  const { key, data, signature } = await signed(t, '-t rsa -b 2048', 0);
  assert.equal(new WireReader(signature).text(), 'ssh-rsa');
  assert.equal(verifyHostSignature(key, data, signature), false);
});

test('a signature under the name of another algorithm is refused', async (t) => {
  const { key, data, signature } = await signed(t, '-t ed25519', 0);
  const reader = new WireReader(signature);
  reader.string();
  const renamed = Buffer.concat([encodeString('ecdsa-sha2-nistp256'), reader.rest()]);
  assert.equal(verifyHostSignature(key, data, renamed), false);
});
