import assert from 'node:assert/strict';
import { generateKeyPairSync, sign } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { publicBlob } from '../../src/keys/store/key-type.ts';
import { hashOf, keyTypeOf, verifiableKeyTypes } from '../../src/ssh/host-key-algorithm.ts';
import { bitLength, parseHostKey, verifyHostSignature } from '../../src/ssh/hostkey.ts';
import { encodeString, WireReader } from '../../src/ssh/wire.ts';
import { fc } from '../property.ts';
import { mpint } from './packets.ts';
import { refusal } from './refusal.ts';

/** Keys and signatures that OpenSSH made. The numbers of the RSA signatures, and one of the first ECDSA one, begin with zero. */
const { signatures: recorded } = JSON.parse(
  readFileSync(join(import.meta.dirname, 'fixtures/host-signatures.json'), 'utf8'),
) as {
  readonly signatures: readonly {
    readonly algorithm: string;
    readonly fingerprint: string;
    readonly blob: string;
    readonly data: string;
    readonly signature: string;
  }[];
};

const keyTypes: Readonly<Record<string, string>> = {
  'rsa-sha2-256': 'ssh-rsa',
  'rsa-sha2-512': 'ssh-rsa',
};

function parts(signature: Buffer): { name: string; bytes: Buffer } {
  const reader = new WireReader(signature);
  return { name: reader.text(), bytes: reader.string() };
}

const signatureOf = (name: string, bytes: Buffer) => Buffer.concat([name, bytes].map(encodeString));

for (const [at, { algorithm, fingerprint, blob, data, signature: base64 }] of recorded.entries()) {
  const readKey = () => parseHostKey(Buffer.from(blob, 'base64'));
  const signature = Buffer.from(base64, 'base64');
  const isAccepted = algorithm !== 'ssh-rsa';
  const verifies = (bytes: Buffer, text = data) => verifyHostSignature(readKey(), Buffer.from(text), bytes);
  const what = `recorded signature ${at} (${algorithm})`;

  test(`${what}: the key has the type and the fingerprint that ssh-keygen printed`, () => {
    const key = readKey();
    assert.equal(key.type, keyTypes[algorithm] ?? algorithm);
    assert.equal(key.fingerprint, fingerprint);
    assert.deepEqual(key.blob, Buffer.from(blob, 'base64'));
  });

  test(`${what} is ${isAccepted ? 'accepted for its own data only' : 'refused, because it is SHA-1'}`, () => {
    assert.equal(verifies(signature), isAccepted);
    assert.equal(verifies(signature, 'other data'), false);
  });

  test(`${what} is refused under another name, cut off, or with a byte behind it`, () => {
    const { bytes } = parts(signature);
    for (const other of recorded)
      if (other.algorithm !== algorithm) assert.equal(verifies(signatureOf(other.algorithm, bytes)), false);
    for (const name of ['', 'none', 'toString']) assert.equal(verifies(signatureOf(name, bytes)), false);
    for (const length of [0, 3, 8, signature.length - 1])
      assert.equal(verifies(signature.subarray(0, length)), false);
    assert.equal(verifies(Buffer.concat([signature, Buffer.of(0)])), false);
    assert.equal(verifies(signatureOf(algorithm, Buffer.concat([bytes, Buffer.of(0)]))), false);
    assert.equal(verifies(signatureOf(algorithm, bytes.subarray(0, -1))), false);
  });
}

test('an RSA signature without its leading zero bytes is accepted', () => {
  const some = recorded.filter(({ algorithm }) => algorithm.startsWith('rsa-'));
  assert.equal(some.length, 3);
  for (const { algorithm, blob, data, signature } of some) {
    const { bytes } = parts(Buffer.from(signature, 'base64'));
    assert.equal(bytes[0], 0);
    const short = signatureOf(algorithm, bytes.subarray(1));
    const key = parseHostKey(Buffer.from(blob, 'base64'));
    assert.equal(verifyHostSignature(key, Buffer.from(data), short), true);
  }
});

test('an algorithm belongs to one key type and has one hash', () => {
  const expected: readonly [string, string, string | undefined][] = [
    ['ssh-ed25519', 'ssh-ed25519', undefined],
    ['ecdsa-sha2-nistp256', 'ecdsa-sha2-nistp256', 'sha256'],
    ['ecdsa-sha2-nistp384', 'ecdsa-sha2-nistp384', 'sha384'],
    ['ecdsa-sha2-nistp521', 'ecdsa-sha2-nistp521', 'sha512'],
    ['rsa-sha2-256', 'ssh-rsa', 'sha256'],
    ['rsa-sha2-512', 'ssh-rsa', 'sha512'],
    ['ssh-mldsa44-ed25519@openssh.com', 'ssh-mldsa44-ed25519@openssh.com', undefined],
  ];
  for (const [algorithm, type, hash] of expected) {
    assert.equal(keyTypeOf(algorithm), type);
    for (const [, other] of expected)
      assert.equal(hashOf(algorithm, other), other === type ? hash : undefined);
  }
  assert.deepEqual([...verifiableKeyTypes].sort(), [...new Set(expected.map(([, type]) => type))].sort());
});

test('an algorithm that is not listed is refused; the hint says how to choose another', () => {
  for (const algorithm of ['ssh-rsa', 'ssh-dss', 'ssh-ed25519-cert-v01@openssh.com', 'toString', '']) {
    assert.equal(hashOf(algorithm, algorithm), undefined);
    assert.throws(() => keyTypeOf(algorithm), { code: 'host-key-type', hint: /HostKeyAlgorithms=/ });
  }
  assert.throws(() => keyTypeOf('x-cert-v01@y'), { message: /certificate/ });
  assert.throws(() => keyTypeOf('x'), { message: /cannot be verified \(x\)/ });
  assert.throws(() => keyTypeOf('x'.repeat(65)), { message: /\(x{64}\)/ });
});

test('a number has the bits from its highest one on', () => {
  const numbers: readonly [readonly number[], number][] = [
    [[0], 0],
    [[1], 1],
    [[0x7f], 7],
    [[0x80], 8],
    [[1, 0], 9],
    [[0xff, 0xff], 16],
  ];
  for (const [bytes, bits] of numbers) assert.equal(bitLength(Buffer.from(bytes)), bits, String(bytes));
});

test('ecdsa signatures verify whose numbers are short or have a sign byte', () => {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const key = parseHostKey(publicBlob(privateKey));
  const seen = new Set<number>();
  for (let count = 0; !(seen.has(31) && seen.has(32) && seen.has(33)); count += 1) {
    const data = Buffer.from(`hash ${count}`);
    const raw = sign('sha256', data, { key: privateKey, dsaEncoding: 'ieee-p1363' });
    const numbers = [raw.subarray(0, 32), raw.subarray(32)].map((number) => {
      const digits = number.subarray(number.findIndex((byte) => byte !== 0));
      return mpint(digits);
    });
    for (const number of numbers) seen.add(number.length - 4);
    const signature = signatureOf(key.type, Buffer.concat(numbers));
    assert.equal(verifyHostSignature(key, data, signature), true);
    const behind = signatureOf(key.type, Buffer.concat([...numbers, Buffer.of(0)]));
    assert.equal(verifyHostSignature(key, data, behind), false);
  }
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

const strings = (...fields: (string | Buffer)[]): Buffer => Buffer.concat(fields.map(encodeString));
const point = Buffer.alloc(32, 5);
const ed25519 = strings('ssh-ed25519', point);
const ecdsa = (bytes: Buffer) => strings('ecdsa-sha2-nistp256', 'nistp256', bytes);
const rsa = (modulus: Buffer) => Buffer.concat([strings('ssh-rsa'), mpint(Buffer.from([3])), mpint(modulus)]);

test('a key of each form is read', () => {
  for (const blob of [ed25519, ecdsa(Buffer.alloc(65, 4)), rsa(Buffer.alloc(256, 0xff))])
    assert.deepEqual(parseHostKey(blob).blob, blob);
});

const malformed: readonly [string, Buffer][] = [
  ['is empty', Buffer.alloc(0)],
  ['has an empty type', strings('', point)],
  ['has a type with a line end', strings('ssh-ed25519\n', point)],
  ['has two types', strings('ssh-ed25519,ssh-rsa', point)],
  ['ends within its type', ed25519.subarray(0, 9)],
  ['ends within its point', ed25519.subarray(0, -1)],
  ['has a byte behind its end', Buffer.concat([ed25519, Buffer.from([0])])],
  ['is ed25519 with 31 bytes', strings('ssh-ed25519', Buffer.alloc(31, 5))],
  ['is ed25519 with 33 bytes', strings('ssh-ed25519', Buffer.alloc(33, 5))],
  ['is ecdsa with a byte behind its end', Buffer.concat([ecdsa(Buffer.alloc(65, 4)), Buffer.of(0)])],
  ['is rsa with a byte behind its end', Buffer.concat([rsa(Buffer.alloc(256, 0xff)), Buffer.of(0)])],
  ['is ecdsa with a point of another form', ecdsa(Buffer.alloc(65, 2))],
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

test('an rsa key has 1024 to 16384 bits', () => {
  for (const bytes of [128, 2048]) assert.equal(parseHostKey(rsa(Buffer.alloc(bytes, 0xff))).type, 'ssh-rsa');
  assert.throws(() => parseHostKey(rsa(Buffer.alloc(128, 0x7f))), refusal('not-ssh'));
  const long = rsa(Buffer.concat([Buffer.of(1), Buffer.alloc(2048, 0xff)]));
  assert.throws(() => parseHostKey(long), refusal('not-ssh'));
});

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
  // The next values on either side are not refused, nor are those that have most of their bytes in common with the prime.
  for (const y of [2n, 3n, prime25519 - 2n, prime25519 - 256n, 2n ** 254n - 1n, 2n ** 255n - 2n ** 248n - 1n])
    assert.equal(parseHostKey(ed25519Blob(pointOf(y, 0))).type, 'ssh-ed25519');
});
