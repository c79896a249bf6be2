/** Host keys in the form of a key exchange reply, and their signatures. */
import { createHash, createPublicKey, type KeyObject, verify } from 'node:crypto';
import { hashOf } from './host-key-algorithm.ts';
import { mldsa44Ed25519, mldsa44Ed25519KeyBytes, verifyMldsa44Ed25519 } from './mldsa44-ed25519.ts';
import { unpredicted } from './refusal.ts';
import { WireReader } from './wire.ts';

export interface HostKey {
  /** The key in wire format: K_S of RFC 4253 §8. */
  readonly blob: Buffer;
  /** The type in the blob, such as `ssh-ed25519`; `ssh-rsa` for every RSA key. */
  readonly type: string;
  /** `SHA256:` and 43 base64 characters, as ssh-keygen prints it. */
  readonly fingerprint: string;
}

/** What a key exchange reply shows of a host: its key, and its signature over the exchange hash (RFC 4253 §8). */
export interface SignedExchange {
  readonly hostKey: HostKey;
  readonly signature: Buffer;
}

interface Curve {
  readonly jwk: string;
  /** Bytes of one coordinate. */
  readonly size: number;
}

const curves: ReadonlyMap<string, Curve> = new Map([
  ['ecdsa-sha2-nistp256', { jwk: 'P-256', size: 32 }],
  ['ecdsa-sha2-nistp384', { jwk: 'P-384', size: 48 }],
  ['ecdsa-sha2-nistp521', { jwk: 'P-521', size: 66 }],
]);

const rsaBits = { least: 1024, most: 16384 };

/**
 * Reads a key blob. It checks ssh-ed25519 (RFC 8709), ecdsa-sha2-nistp* (RFC 5656), ssh-rsa (RFC 4253 §6.6) and
 * ssh-mldsa44-ed25519@openssh.com to the last byte. Of other types it reads only the name.
 *
 * @param blob K_S of RFC 4253 §8
 * @throws MintError `not-ssh` if the blob is malformed
 */
export function parseHostKey(blob: Buffer): HostKey {
  const reader = new WireReader(blob);
  const [type, ...more] = reader.nameList();
  if (type === undefined || more.length > 0) throw unpredicted('a host key does not name its type');
  readParameters(type, reader);
  return {
    blob,
    type,
    // Computed on demand: the proxy does not need it.
    get fingerprint() {
      return `SHA256:${createHash('sha256').update(blob).digest('base64').replace(/=+$/, '')}`;
    },
  };
}

/**
 * Verifies a host's signature. The algorithm `ssh-rsa`, which uses SHA-1, is not accepted.
 *
 * @param data the signed bytes
 * @param signature a signature blob of RFC 4253 §6.6: the algorithm name and the signature bytes
 * @returns whether the key made the signature; false for a malformed signature and an unknown key type
 */
export function verifyHostSignature(key: HostKey, data: Buffer, signature: Buffer): boolean {
  try {
    const reader = new WireReader(signature);
    const algorithm = reader.string().toString('latin1');
    const bytes = reader.string();
    reader.end();
    return verifyWith(key, algorithm, data, bytes);
  } catch {
    return false;
  }
}

function verifyWith(key: HostKey, algorithm: string, data: Buffer, signature: Buffer): boolean {
  const reader = new WireReader(key.blob);
  const type = reader.string().toString('latin1');
  if (type === mldsa44Ed25519) {
    return algorithm === type && verifyMldsa44Ed25519(readComposite(reader), data, signature);
  }
  const publicKey = readParameters(type, reader);
  if (publicKey === undefined) return false;
  if (type === 'ssh-ed25519') return algorithm === type && verify(null, data, publicKey(), signature);
  const hash = hashOf(algorithm, type);
  if (hash === undefined) return false;
  if (type === 'ssh-rsa') {
    const size = (publicKey().asymmetricKeyDetails?.modulusLength ?? 0) / 8;
    return verify(hash, data, publicKey(), padded(signature, Math.ceil(size)));
  }
  const curve = curves.get(type);
  if (curve === undefined) return false;
  const numbers = new WireReader(signature);
  const pair = Buffer.concat([padded(numbers.mpint(), curve.size), padded(numbers.mpint(), curve.size)]);
  numbers.end();
  return verify(hash, data, { key: publicKey(), dsaEncoding: 'ieee-p1363' }, pair);
}

/**
 * Checks the parameters after the type's name.
 *
 * @returns a function that makes the public key; undefined for an unknown type
 */
function readParameters(type: string, reader: WireReader): (() => KeyObject) | undefined {
  const curve = curves.get(type);
  if (curve !== undefined) return readCurvePoint(type, curve, reader);
  if (type === 'ssh-ed25519') return readEd25519(reader);
  if (type === 'ssh-rsa') return readRsa(reader);
  if (type === mldsa44Ed25519) readComposite(reader);
  return undefined;
}

const weakKey = 'an ed25519 host key that anyone can sign for (its point has a small order)';

function readEd25519(reader: WireReader): () => KeyObject {
  const point = reader.string();
  reader.end();
  if (point.length !== 32) throw unpredicted('an ed25519 host key is not 32 bytes long');
  if (isWeakEd25519(point)) throw unpredicted(weakKey);
  return () => jwk({ kty: 'OKP', crv: 'Ed25519', x: point.toString('base64url') });
}

function readComposite(reader: WireReader): Buffer {
  const key = reader.string();
  reader.end();
  if (key.length !== mldsa44Ed25519KeyBytes) throw unpredicted('an ML-DSA host key has the wrong length');
  if (isWeakEd25519(key.subarray(-32))) throw unpredicted(weakKey);
  return key;
}

/** The y coordinates of the points whose order divides 8, as RFC 8032 §5.1.2 encodes them, without the sign bit. */
const smallOrder: ReadonlySet<string> = new Set([
  '0000000000000000000000000000000000000000000000000000000000000000',
  '0100000000000000000000000000000000000000000000000000000000000000',
  '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05',
  'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a',
  'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
]);

/**
 * Whether the encoded point has a small order, or a y coordinate of 2^255 - 19 or more. Anyone can sign for a point of
 * small order: OpenSSL 3.0 accepts such signatures (3.5 does not), and an SSH client may. RFC 8032 §5.1.3 forbids the
 * large coordinates, which would be a second encoding of another point.
 */
function isWeakEd25519(point: Buffer): boolean {
  const y = Buffer.from(point);
  y[31] = (y[31] ?? 0) & 0x7f;
  const isReduced = y[31] !== 0x7f || (y[0] ?? 0) < 0xed || y.subarray(1, 31).some((byte) => byte !== 0xff);
  return !isReduced || smallOrder.has(y.toString('hex'));
}

function readCurvePoint(type: string, curve: Curve, reader: WireReader): () => KeyObject {
  const name = reader.string().toString('latin1');
  const point = reader.string();
  reader.end();
  if (!type.endsWith(`-${name}`)) throw unpredicted('an ecdsa host key has the curve of another type');
  // Compressed points are optional in RFC 5656, and OpenSSH does not accept them.
  if (point.length !== 1 + 2 * curve.size || point[0] !== 4)
    throw unpredicted('an ecdsa host key is not an uncompressed point of its curve');
  const x = point.subarray(1, 1 + curve.size).toString('base64url');
  const y = point.subarray(1 + curve.size).toString('base64url');
  return () => jwk({ kty: 'EC', crv: curve.jwk, x, y });
}

function readRsa(reader: WireReader): () => KeyObject {
  const e = reader.mpint();
  const n = reader.mpint();
  reader.end();
  const bits = bitLength(n);
  if (bits < rsaBits.least || bits > rsaBits.most) throw unpredicted(`an rsa host key has ${bits} bits`);
  return () => jwk({ kty: 'RSA', n: n.toString('base64url'), e: e.toString('base64url') });
}

/**
 * @param magnitude as `WireReader.mpint` returns it: big-endian, without leading zeros
 * @returns the number of its bits
 */
export function bitLength(magnitude: Buffer): number {
  const [first = 0] = magnitude;
  return magnitude.length * 8 - (first === 0 ? 8 : Math.clz32(first) - 24);
}

function jwk(key: Record<string, string>): KeyObject {
  return createPublicKey({ key, format: 'jwk' });
}

/** Pads with leading zeros: an mpint has none, and some servers drop them from an RSA signature. */
function padded(bytes: Buffer, size: number): Buffer {
  return bytes.length >= size ? bytes : Buffer.concat([Buffer.alloc(size - bytes.length), bytes]);
}
