/** A user's signatures: RFC 8709 section 6 (Ed25519), RFC 8332 (RSA), RFC 5656 section 3.1.2 (ECDSA). */
import { type KeyObject, sign } from 'node:crypto';
import { hashOf } from './host-key-algorithm.ts';
import { encodeString, WireReader } from './wire.ts';

/** A private key, and the public half by which a client asks for it. */
export interface SigningKey {
  readonly privateKey: KeyObject;
  /** The public key blob. */
  readonly blob: Buffer;
}

/** The flags of a sign request in the agent protocol. */
const rsaFlags: Readonly<Record<string, number | undefined>> = { 'rsa-sha2-256': 2, 'rsa-sha2-512': 4 };

/**
 * Signs `data` with the algorithm of the login request. The algorithm `ssh-rsa`, which uses SHA-1, is not supported.
 *
 * @param algorithm from the signed login request
 * @param flags from the agent's sign request; they must select the same algorithm
 * @returns the signature blob; undefined if the key has no such algorithm, or the flags select another one
 */
export function signatureFor(
  { privateKey, blob }: SigningKey,
  algorithm: string,
  data: Buffer,
  flags: number,
): Buffer | undefined {
  const type = new WireReader(blob).text();
  if (type === 'ssh-ed25519')
    return algorithm === type ? signature(type, sign(null, data, privateKey)) : undefined;
  const hash = hashOf(algorithm, type);
  if (hash === undefined) return undefined;
  if (type === 'ssh-rsa') {
    const wanted = rsaFlags[algorithm];
    if (wanted === undefined || (flags & wanted) === 0) return undefined;
    return signature(algorithm, sign(hash, data, privateKey));
  }
  const raw = sign(hash, data, { key: privateKey, dsaEncoding: 'ieee-p1363' });
  const half = raw.length / 2;
  const numbers = [raw.subarray(0, half), raw.subarray(half)].map((number) => encodeString(positive(number)));
  return signature(type, Buffer.concat(numbers));
}

function signature(algorithm: string, bytes: Buffer): Buffer {
  return Buffer.concat([encodeString(algorithm), encodeString(bytes)]);
}

/** Encodes a number as an mpint (RFC 4251 section 5): no leading zeros, except one before a set sign bit. */
function positive(number: Buffer): Buffer {
  const start = number.findIndex((byte) => byte !== 0);
  const digits = start < 0 ? Buffer.alloc(0) : number.subarray(start);
  return (digits[0] ?? 0) & 0x80 ? Buffer.concat([Buffer.of(0), digits]) : digits;
}
