/** Reads and writes private keys in the formats of SSH programs. */
import { createPrivateKey, createPublicKey, type KeyObject, sign, verify } from 'node:crypto';
import { MintError } from '../../errors.ts';
import { encryptPkcs8 } from './encrypted-pkcs8.ts';
import { invalid, type KeyFile, mustBeConverted } from './key-file.ts';
import { publicBlob } from './key-type.ts';

export type KeyFormat = KeyFile['format'];

export const keyFormats: readonly KeyFormat[] = ['openssh', 'pem', 'pkcs8'];

/**
 * Decrypts a key file, and checks that the key has a supported type and that its halves match.
 *
 * @throws MintError `key-passphrase`, `key-invalid`, `key-format`
 */
export async function openKeyFile(file: KeyFile, passphrase: string | undefined): Promise<KeyObject> {
  const key = file.format === 'openssh' ? await readOpenSsh(file, passphrase) : readPem(file, passphrase);
  const blob = publicBlob(key);
  if (file.publicBlob !== undefined && !file.publicBlob.equals(blob)) {
    throw invalid('the public half in this file belongs to another key');
  }
  if (!signs(key)) throw invalid('this private key is damaged: its own signature does not verify');
  return key;
}

/**
 * Encodes a key. With a passphrase it is encrypted: in OpenSSH's format with bcrypt and ssh-keygen's cipher (by sshpk), in
 * PKCS#8 with PBKDF2.
 *
 * @returns the bytes of the file
 * @throws MintError `key-format` for a format that does not support the key or a strong passphrase encryption
 */
export async function encodePrivateKey(
  key: KeyObject,
  format: KeyFormat,
  { passphrase, comment }: { readonly passphrase?: string | undefined; readonly comment: string },
): Promise<Buffer> {
  if (format === 'pkcs8') {
    if (passphrase !== undefined)
      return encryptPkcs8(key.export({ type: 'pkcs8', format: 'der' }), passphrase);
    return Buffer.from(key.export({ type: 'pkcs8', format: 'pem' }));
  }
  if (format === 'pem') {
    const type = key.asymmetricKeyType === 'rsa' ? 'pkcs1' : 'sec1';
    if (key.asymmetricKeyType === 'ed25519') {
      throw new MintError('key-format', 'PEM does not support ed25519 keys', {
        hint: 'export it as openssh, or as pkcs8 for programs that are not OpenSSH',
      });
    }
    if (passphrase !== undefined) {
      throw new MintError('key-format', 'PEM encrypts a key with one round of MD5, which is too weak', {
        hint: 'export it as openssh or pkcs8, or without --passphrase',
      });
    }
    return Buffer.from(key.export({ type, format: 'pem' }));
  }
  const { default: sshpk } = await import('sshpk');
  const copy = sshpk.parsePrivateKey(String(key.export({ type: 'pkcs8', format: 'pem' })), 'pkcs8');
  copy.comment = comment;
  return copy.toBuffer('ssh-private', passphrase === undefined ? {} : { passphrase, cipher: 'aes256-ctr' });
}

async function readOpenSsh({ text, encrypted }: KeyFile, passphrase: string | undefined): Promise<KeyObject> {
  const { default: ssh2 } = await import('ssh2');
  const parsed = ssh2.utils.parseKey(text.trim(), passphrase);
  if (parsed instanceof Error || Array.isArray(parsed)) throw unreadable(encrypted, parsed);
  try {
    return createPrivateKey(parsed.getPrivatePEM());
  } catch (cause) {
    throw unreadable(encrypted, cause);
  }
}

function readPem({ text, encrypted }: KeyFile, passphrase: string | undefined): KeyObject {
  try {
    return createPrivateKey(passphrase === undefined ? text : { key: text, passphrase });
  } catch (cause) {
    // OpenSSL 3 has disabled DES, RC2 and MD5, but ssh-keygen may use another library. The decoder's "unsupported" does not
    // count: one wrong passphrase in a few hundred gives bytes that the decoder rejects with it.
    if (encrypted && /(?<!DECODER routines::)unsupported|unknown.cipher/i.test(String(cause))) {
      throw mustBeConverted('an outdated cipher');
    }
    throw unreadable(encrypted, cause);
  }
}

/** The error for a key that cannot be decoded. For an encrypted key, it assumes a wrong passphrase. */
function unreadable(encrypted: boolean, cause: unknown): MintError {
  if (!encrypted) return invalid('this private key is damaged', undefined, cause);
  return new MintError('key-passphrase', 'the key does not open with this passphrase', { cause });
}

function signs(key: KeyObject): boolean {
  const data = Buffer.from('mint-ssh');
  const hash = key.asymmetricKeyType === 'ed25519' ? null : 'sha256';
  try {
    return verify(hash, data, createPublicKey(key), sign(hash, data, key));
  } catch {
    return false;
  }
}
