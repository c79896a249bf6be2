/** Fingerprints of public keys in the forms that EC2 uses. */
import { createHash, createPublicKey } from 'node:crypto';
import { parseHostKey } from '../ssh/hostkey.ts';
import { WireReader } from '../ssh/wire.ts';

/** Whether EC2 accepts the type of key: it does not accept ECDSA keys. */
export function isForEc2(blob: Buffer): boolean {
  return ['ssh-ed25519', 'ssh-rsa'].includes(new WireReader(blob).text());
}

/**
 * The fingerprint that EC2 shows for an imported key: for RSA the MD5 of its DER form
 * (`openssl rsa -pubout -outform DER | openssl md5 -c`), for Ed25519 the SHA-256 of its blob, with the base64 padding that
 * ssh-keygen omits. Source: "Verify the fingerprint of your key pair" in the EC2 user guide.
 */
export function awsFingerprint(blob: Buffer): string {
  const reader = new WireReader(blob);
  if (reader.text() !== 'ssh-rsa') return parseHostKey(blob).fingerprint;
  const [e, n] = [reader.mpint(), reader.mpint()].map((number) => number.toString('base64url'));
  const key = createPublicKey({ key: { kty: 'RSA', e: e ?? '', n: n ?? '' }, format: 'jwk' });
  const hex = createHash('md5')
    .update(key.export({ type: 'spki', format: 'der' }))
    .digest('hex');
  return (hex.match(/../g) ?? []).join(':');
}

/** Converts a fingerprint from EC2 to the form of `awsFingerprint`: EC2 adds padding and omits the name of the hash. */
export function plainFingerprint(shown: string): string {
  const bare = shown.replace(/^SHA256:/, '').replace(/=+$/, '');
  return /^[A-Za-z0-9+/]{43}$/.test(bare) ? `SHA256:${bare}` : shown.toLowerCase();
}
