/** Valid pieces for inputs to begin with: the same in every run. */
import { encodeString } from '../../src/ssh/wire.ts';
import { mpint, prime } from '../ssh/packets.ts';

/** The private half does not exist. */
export const ed25519Blob = Buffer.concat([encodeString('ssh-ed25519'), encodeString(Buffer.alloc(32, 0x42))]);

export const ecdsaBlob = Buffer.concat([
  encodeString('ecdsa-sha2-nistp256'),
  encodeString('nistp256'),
  encodeString(Buffer.concat([Buffer.from([4]), Buffer.alloc(64, 0x17)])),
]);

export const rsaBlob = Buffer.concat([
  encodeString('ssh-rsa'),
  mpint(Buffer.from([1, 0, 1])),
  mpint(prime(128)),
]);

export const ed25519Line = `ssh-ed25519 ${ed25519Blob.toString('base64')}`;
export const fingerprint = `SHA256:${'A'.repeat(43)}`;

/** A well-formed, invalid signature. */
export function signatureOf(algorithm: string, size: number): Buffer {
  return Buffer.concat([encodeString(algorithm), encodeString(Buffer.alloc(size, 9))]);
}
