/** The keys that the agent makes, in SSH's formats. The private key never leaves its KeyObject. */
import { createPublicKey, type KeyObject } from 'node:crypto';
import { encodeString, WireReader } from './wire.ts';

const type = 'ssh-ed25519';

/**
 * The public half of a key as it goes over the wire.
 *
 * @param key either half of an Ed25519 key (RFC 8709 section 4) or of an RSA key (RFC 4253 section 6.6)
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

/** The line of an authorized_keys file, without a comment: of an Ed25519 key exactly 80 characters. */
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
