/** Encodes the agent's keys in SSH's formats. The private key never leaves its KeyObject. */
import { createPublicKey, type KeyObject } from 'node:crypto';
import { encodeString, WireReader } from './wire.ts';

const type = 'ssh-ed25519';

/**
 * @param key the public or private half of an Ed25519 key (RFC 8709 §4) or RSA key (RFC 4253 §6.6)
 * @returns the public key blob
 */
export function publicKeyBlob(key: KeyObject): Buffer {
  const half = key.type === 'private' ? createPublicKey(key) : key;
  const { crv, x, e, n } = half.export({ format: 'jwk' });
  if (crv === 'Ed25519' && x !== undefined)
    return Buffer.concat([encodeString(type), encodeString(decoded(x))]);
  if (e === undefined || n === undefined) throw new TypeError('neither an Ed25519 nor an RSA key');
  const numbers = [decoded(e), decoded(n)].map((number) => encodeString(positive(number)));
  return Buffer.concat([encodeString('ssh-rsa'), ...numbers]);
}

/** @returns the key's line for authorized_keys, without a comment; 80 characters for an Ed25519 key */
export function publicKeyLine(key: KeyObject): string {
  const blob = publicKeyBlob(key);
  return `${new WireReader(blob).text()} ${blob.toString('base64')}`;
}

function decoded(base64url: string): Buffer {
  return Buffer.from(base64url, 'base64url');
}

/** An mpint of a positive number: a zero byte goes before a leading bit that would be its sign. */
function positive(number: Buffer): Buffer {
  return (number[0] ?? 0) & 0x80 ? Buffer.concat([Buffer.of(0), number]) : number;
}
