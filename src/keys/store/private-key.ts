/** Reads and writes private keys in the formats of SSH programs. */
import { createPrivateKey, createPublicKey, type KeyObject, sign, verify } from 'node:crypto';
import { MintError } from '../../errors.ts';
import { encryptPkcs8 } from './encrypted-pkcs8.ts';
import { invalid, type KeyFile, mustBeConverted } from './key-file.ts';
import { publicBlob } from './key-type.ts';

export type KeyFormat = KeyFile['format'];

export const keyFormats: readonly KeyFormat[] = ['openssh', 'pem', 'pkcs8'];

/**
 * Opens a file; the key inside is one that is kept, and whole: its halves belong together.
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
 * The bytes of a file. With a passphrase the key is encrypted: in OpenSSH's format under bcrypt, by sshpk with the cipher
 * that ssh-keygen uses; in PKCS#8 under PBKDF2.
 *
 * @throws MintError `key-format` for a format that cannot hold such a key, or cannot protect it
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
      throw new MintError('key-format', 'PEM has no form for an ed25519 key', {
        hint: 'export it as openssh, or as pkcs8 for programs that are not OpenSSH',
      });
    }
    if (passphrase !== undefined) {
      throw new MintError('key-format', 'PEM protects a key by one round of MD5, which is too weak', {
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
    // OpenSSL 3 has put DES, RC2 and MD5 away; ssh-keygen is often built with another one. The decoder's
    // own "unsupported" does not count: one wrong passphrase in a few hundred gives bytes that it cannot read.
    if (encrypted && /(?<!DECODER routines::)unsupported|unknown.cipher/i.test(String(cause))) {
      throw mustBeConverted('an outdated cipher');
    }
    throw unreadable(encrypted, cause);
  }
}

/** The error for a key that cannot be decoded. With a passphrase, the passphrase is taken to be wrong. */
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
