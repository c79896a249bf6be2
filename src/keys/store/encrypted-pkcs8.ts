/**
 * An encrypted PKCS#8 file (RFC 5958 §3) under PBES2 (RFC 8018 §6.2). node:crypto writes such files with 2,048 rounds of
 * PBKDF2 and has no parameter for them.
 */
import { createCipheriv, pbkdf2Sync, randomBytes } from 'node:crypto';

/** Rounds of PBKDF2-HMAC-SHA-256: OWASP's minimum of 2023. */
export const pbkdf2Rounds = 600_000;

/** RFC 8018 appendix C, RFC 3565 §4.1. */
const oids = {
  pbes2: '06092a864886f70d01050d',
  pbkdf2: '06092a864886f70d01050c',
  hmacWithSha256: '06082a864886f70d0209',
  aes256Cbc: '060960864801650304012a',
};

/**
 * @param der PrivateKeyInfo
 * @returns a PEM file
 */
export function encryptPkcs8(der: Buffer, passphrase: string): Buffer {
  const [salt, iv] = [randomBytes(16), randomBytes(16)];
  const key = pbkdf2Sync(passphrase, salt, pbkdf2Rounds, 32, 'sha256');
  const cipher = createCipheriv('aes-256-cbc', key, iv);
  const encrypted = Buffer.concat([cipher.update(der), cipher.final()]);
  key.fill(0);
  const prf = sequence(hex(oids.hmacWithSha256), hex('0500'));
  const derivation = sequence(hex(oids.pbkdf2), sequence(octets(salt), integer(pbkdf2Rounds), prf));
  const scheme = sequence(hex(oids.aes256Cbc), octets(iv));
  const info = sequence(sequence(hex(oids.pbes2), sequence(derivation, scheme)), octets(encrypted));
  const lines = info.toString('base64').match(/.{1,64}/g) ?? [];
  const label = 'ENCRYPTED PRIVATE KEY';
  return Buffer.from(`-----BEGIN ${label}-----\n${lines.join('\n')}\n-----END ${label}-----\n`);
}

function hex(text: string): Buffer {
  return Buffer.from(text, 'hex');
}

function sequence(...parts: readonly Buffer[]): Buffer {
  return element(0x30, Buffer.concat(parts));
}

function octets(bytes: Buffer): Buffer {
  return element(0x04, bytes);
}

/** A number from 0x8000 to 0x7fffff, which takes three bytes by X.690 §8.3. */
function integer(value: number): Buffer {
  const bytes = Buffer.alloc(3);
  bytes.writeUIntBE(value, 0, 3);
  return element(0x02, bytes);
}

/** X.690 §8.1: a tag, the length in as few bytes as possible, the contents. */
function element(tag: number, contents: Buffer): Buffer {
  const length = contents.length;
  if (length < 0x80) return Buffer.concat([Buffer.from([tag, length]), contents]);
  if (length < 0x100) return Buffer.concat([Buffer.from([tag, 0x81, length]), contents]);
  return Buffer.concat([Buffer.from([tag, 0x82, length >> 8, length & 0xff]), contents]);
}
