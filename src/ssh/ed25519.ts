/** Our own keys in SSH's formats: RFC 8709. The private key never leaves its KeyObject. */
import { type KeyObject, sign } from 'node:crypto';
import { encodeString } from './wire.ts';

const type = 'ssh-ed25519';

/** The wire form of an Ed25519 key's public half; takes either half. */
export function publicKeyBlob(key: KeyObject): Buffer {
  const { crv, x } = key.export({ format: 'jwk' });
  if (crv !== 'Ed25519' || typeof x !== 'string') throw new TypeError('not an Ed25519 key');
  return Buffer.concat([encodeString(type), encodeString(Buffer.from(x, 'base64url'))]);
}

/** The line of an authorized_keys file, without a comment: exactly 80 characters. */
export function publicKeyLine(key: KeyObject): string {
  return `${type} ${publicKeyBlob(key).toString('base64')}`;
}

/** A signature over `data` in the form of RFC 8709 §6. */
export function signatureBlob(privateKey: KeyObject, data: Buffer): Buffer {
  return Buffer.concat([encodeString(type), encodeString(sign(null, data, privateKey))]);
}
