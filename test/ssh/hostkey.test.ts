import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { type TestContext, test } from 'node:test';
import { parseHostKey, verifyHostSignature } from '../../src/ssh/hostkey.ts';
import { encodeString, WireReader } from '../../src/ssh/wire.ts';
import { fc } from '../property.ts';
import { generateKey, readBlob, signWithAgent, temporaryDirectory } from './keygen.ts';
import { mpint, newHostKey } from './packets.ts';
import { refusal } from './refusal.ts';

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

test('a key of an unknown type has a fingerprint and verifies nothing', () => {
  const blob = Buffer.concat([encodeString('new-type@example.com'), encodeString('anything')]);
  const key = parseHostKey(blob);
  assert.equal(key.type, 'new-type@example.com');
  const signature = Buffer.concat([encodeString('new-type@example.com'), encodeString('')]);
  assert.equal(verifyHostSignature(key, Buffer.alloc(32), signature), false);
});

test('a point that is not on its curve verifies nothing', () => {
  const point = Buffer.concat([Buffer.from([4]), Buffer.alloc(64, 1)]);
  const fields = ['ecdsa-sha2-nistp256', 'nistp256', point].map(encodeString);
  const key = parseHostKey(Buffer.concat(fields));
  const signature = Buffer.concat([
    encodeString('ecdsa-sha2-nistp256'),
    encodeString(Buffer.concat([mpint(Buffer.alloc(32, 1)), mpint(Buffer.alloc(32, 1))])),
  ]);
  assert.equal(verifyHostSignature(key, Buffer.alloc(32), signature), false);
});

const ed25519 = newHostKey().blob;
const strings = (...fields: (string | Buffer)[]): Buffer => Buffer.concat(fields.map(encodeString));
const malformed: readonly [string, Buffer][] = [
  ['is empty', Buffer.alloc(0)],
  ['has an empty type', strings('', Buffer.alloc(32))],
  ['has a type with a line end', strings('ssh-ed25519\n', Buffer.alloc(32))],
  ['has two types', strings('ssh-ed25519,ssh-rsa', Buffer.alloc(32))],
  ['ends within its type', ed25519.subarray(0, 9)],
  ['ends within its point', ed25519.subarray(0, -1)],
  ['has a byte behind its end', Buffer.concat([ed25519, Buffer.from([0])])],
  ['is ed25519 with 31 bytes', strings('ssh-ed25519', Buffer.alloc(31))],
  ['is ed25519 with 33 bytes', strings('ssh-ed25519', Buffer.alloc(33))],
  ['is ecdsa of another curve', strings('ecdsa-sha2-nistp256', 'nistp384', Buffer.alloc(65, 4))],
  ['is ecdsa of the end of a curve', strings('ecdsa-sha2-nistp256', '256', Buffer.alloc(65, 4))],
  ['is ecdsa with a compressed point', strings('ecdsa-sha2-nistp256', 'nistp256', Buffer.alloc(33, 2))],
  ['is ecdsa with a short point', strings('ecdsa-sha2-nistp256', 'nistp256', Buffer.alloc(64, 4))],
  [
    'is rsa of 1016 bits',
    Buffer.concat([strings('ssh-rsa'), mpint(Buffer.from([3])), mpint(Buffer.alloc(127, 0xff))]),
  ],
  [
    'is rsa of 16392 bits',
    Buffer.concat([strings('ssh-rsa'), mpint(Buffer.from([3])), mpint(Buffer.alloc(2049, 0xff))]),
  ],
  ['is rsa without a modulus', Buffer.concat([strings('ssh-rsa'), mpint(Buffer.from([3]))])],
  ['is rsa with a negative modulus', strings('ssh-rsa', Buffer.from([3]), Buffer.alloc(256, 0xff))],
];
for (const [what, blob] of malformed) {
  test(`a key that ${what} is refused`, () => {
    assert.throws(() => parseHostKey(blob), refusal('not-ssh'));
  });
}

test('random bytes are either a key or refused, and never verify', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 100 }), fc.uint8Array({ maxLength: 100 }), (bytes, more) => {
      try {
        const key = parseHostKey(Buffer.from(bytes));
        assert.equal(verifyHostSignature(key, Buffer.from(more), Buffer.from(more)), false);
      } catch (error) {
        refusal('not-ssh')(error);
      }
    }),
  );
});

/** The y coordinates of points whose order divides 8, little-endian, in the encoding of RFC 8032 without the sign. */
const smallOrder = [
  0n,
  1n,
  2n ** 255n - 20n,
  2707385501144840649318225287225658788936804267575313519463743609750303402022n,
  55188659117513257062467267217118295137698188065244968500265048394206261417927n,
];
const prime25519 = 2n ** 255n - 19n;

function pointOf(y: bigint, sign: 0 | 1): Buffer {
  const bytes = Buffer.from((y + (BigInt(sign) << 255n)).toString(16).padStart(64, '0'), 'hex');
  return bytes.reverse();
}

const ed25519Blob = (point: Buffer) => Buffer.concat([encodeString('ssh-ed25519'), encodeString(point)]);

test('an ed25519 key of small order is refused, in both signs and in every other encoding of a point', () => {
  const others = Array.from({ length: 19 }, (_, y) => BigInt(y) + prime25519);
  for (const y of [...smallOrder, ...others]) {
    for (const sign of [0, 1] as const) {
      const blob = ed25519Blob(pointOf(y, sign));
      assert.throws(() => parseHostKey(blob), refusal('not-ssh', { message: /small order/ }), `${y} ${sign}`);
      assert.equal(
        verifyHostSignature(
          { blob, type: 'ssh-ed25519', fingerprint: '' },
          Buffer.alloc(32),
          Buffer.alloc(83),
        ),
        false,
      );
    }
  }
  // The next values on either side are not refused.
  for (const y of [2n, 3n, prime25519 - 2n])
    assert.equal(parseHostKey(ed25519Blob(pointOf(y, 0))).type, 'ssh-ed25519');
});
