/** A user's signatures: RFC 8709 section 6 (Ed25519), RFC 8332 (RSA), RFC 5656 section 3.1.2 (ECDSA). */
import { type KeyObject, sign } from 'node:crypto';
import { encodeString, WireReader } from './wire.ts';

/** A private key, and the public half by which a client asks for it. */
export interface SigningKey {
  readonly privateKey: KeyObject;
  /** As it goes over the wire. */
  readonly blob: Buffer;
}

/** Of the agent protocol: what a client that asks for an RSA signature wants. */
const rsaFlags: Readonly<Record<string, number | undefined>> = { 'rsa-sha2-256': 2, 'rsa-sha2-512': 4 };

const ecdsaHashes: Readonly<Record<string, string | undefined>> = {
  'ecdsa-sha2-nistp256': 'sha256',
  'ecdsa-sha2-nistp384': 'sha384',
  'ecdsa-sha2-nistp521': 'sha512',
};

/**
 * The signature blob over `data`, by the algorithm that the login names. Undefined where the key has no such
 * algorithm, or the flags ask for another one; SHA-1, a plain `ssh-rsa`, is none of them.
 */
export function signatureFor(
  { privateKey, blob }: SigningKey,
  algorithm: string,
  data: Buffer,
  flags: number,
): Buffer | undefined {
  const type = new WireReader(blob).text();
  if (type === 'ssh-rsa') {
    const wanted = rsaFlags[algorithm];
    if (wanted === undefined || (flags & wanted) === 0) return undefined;
    const hash = algorithm === 'rsa-sha2-512' ? 'sha512' : 'sha256';
    return signature(algorithm, sign(hash, data, privateKey));
  }
  if (algorithm !== type) return undefined;
  if (type === 'ssh-ed25519') return signature(type, sign(null, data, privateKey));
  const hash = ecdsaHashes[type];
  if (hash === undefined) return undefined;
  const raw = sign(hash, data, { key: privateKey, dsaEncoding: 'ieee-p1363' });
  const half = raw.length / 2;
  const numbers = [raw.subarray(0, half), raw.subarray(half)].map((number) => encodeString(positive(number)));
  return signature(type, Buffer.concat(numbers));
}

function signature(algorithm: string, bytes: Buffer): Buffer {
  return Buffer.concat([encodeString(algorithm), encodeString(bytes)]);
}

/** An mpint: no needless zeros, and one in front of a leading bit that would be a sign. */
function positive(number: Buffer): Buffer {
  const start = number.findIndex((byte) => byte !== 0);
  const digits = start < 0 ? Buffer.alloc(0) : number.subarray(start);
  return (digits[0] ?? 0) & 0x80 ? Buffer.concat([Buffer.of(0), digits]) : digits;
}
