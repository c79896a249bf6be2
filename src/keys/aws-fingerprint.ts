/** A public key as EC2 knows it. */
import { createHash, createPublicKey } from 'node:crypto';
import { parseHostKey } from '../ssh/hostkey.ts';
import { WireReader } from '../ssh/wire.ts';

/** EC2 takes no ECDSA keys. */
export function isForEc2(blob: Buffer): boolean {
  return ['ssh-ed25519', 'ssh-rsa'].includes(new WireReader(blob).text());
}

/**
 * What EC2 shows of an imported key: for RSA the MD5 of its DER form (`openssl rsa -pubout -outform DER | openssl md5
 * -c`), for Ed25519 the SHA-256 of its blob, which it writes with the padding that ssh-keygen leaves away. See "Verify the
 * fingerprint of your key pair" in the EC2 user guide.
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

/** A fingerprint of EC2's in the form of `awsFingerprint`: it pads, and leaves the name of the hash away. */
export function plainFingerprint(shown: string): string {
  const bare = shown.replace(/^SHA256:/, '').replace(/=+$/, '');
  return /^[A-Za-z0-9+/]{43}$/.test(bare) ? `SHA256:${bare}` : shown.toLowerCase();
}
