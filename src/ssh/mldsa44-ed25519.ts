/**
 * The composite host key type of OpenSSH 10.4: ML-DSA-44 and Ed25519, both of which must verify
 * (draft-miller-sshm-mldsa44-ed25519-composite-sigs-00, draft-ietf-lamps-pq-composite-sigs-18).
 *
 * Public key blob: string type, string (1,312 bytes of ML-DSA-44 key, 32 bytes of Ed25519 key).
 * Signature: string type, string (2,420 bytes of ML-DSA-44 signature, 64 bytes of Ed25519 signature).
 */
import { createHash, createPublicKey, verify } from 'node:crypto';

export const mldsa44Ed25519 = 'ssh-mldsa44-ed25519@openssh.com';

const mldsaKeyBytes = 1312;
const mldsaSignatureBytes = 2420;
const label = Buffer.from('COMPSIG-MLDSA44-Ed25519-SHA512');
/** The domain separator of the composite signature scheme. Its last byte is the length of the context, which SSH leaves empty. */
const messageStart = Buffer.concat([Buffer.from('CompositeAlgorithmSignatures2025'), label, Buffer.of(0)]);

/** The length in bytes of the key blob's second string. */
export const mldsa44Ed25519KeyBytes = mldsaKeyBytes + 32;

/**
 * @param key the second string of the key blob, `mldsa44Ed25519KeyBytes` long
 * @param data the signed bytes
 * @param signature the second string of the signature blob
 * @returns whether both signatures verify; false in a Node without ML-DSA (before 24.6)
 */
export function verifyMldsa44Ed25519(key: Buffer, data: Buffer, signature: Buffer): boolean {
  if (signature.length !== mldsaSignatureBytes + 64) return false;
  const message = Buffer.concat([messageStart, createHash('sha512').update(data).digest()]);
  const mldsa = jwk({ kty: 'AKP', alg: 'ML-DSA-44', pub: encoded(key.subarray(0, mldsaKeyBytes)) });
  const ed25519 = jwk({ kty: 'OKP', crv: 'Ed25519', x: encoded(key.subarray(mldsaKeyBytes)) });
  return (
    verify(null, message, { key: mldsa, context: label }, signature.subarray(0, mldsaSignatureBytes)) &&
    verify(null, message, ed25519, signature.subarray(mldsaSignatureBytes))
  );
}

function jwk(key: Record<string, string>) {
  return createPublicKey({ key, format: 'jwk' });
}

function encoded(bytes: Buffer): string {
  return bytes.toString('base64url');
}
