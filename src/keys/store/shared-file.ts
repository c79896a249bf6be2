/**
 * Key files that are encrypted with age (age-encryption.org/v1), to X25519 recipients or with a passphrase. The content is
 * the private key file of the store, so `age -d` returns a key that ssh accepts.
 */
import { MintError } from '../../errors.ts';

/** The recipients of a file. */
export type Readers = { readonly recipients: readonly string[] } | { readonly passphrase: string };

/** The secret that decrypts a file. */
export type Opener = { readonly identities: readonly string[] } | { readonly passphrase: string };

export interface SharedFile {
  readonly bytes: Uint8Array;
  readonly wants: 'identity' | 'passphrase';
}

const armored = '-----BEGIN AGE ENCRYPTED FILE-----';
const plain = 'age-encryption.org/v1\n';
/** 32 bytes and a checksum in Bech32, as `age-keygen` prints them. */
const recipientForm = /^age1[02-9ac-hj-np-z]{58}$/;
const identityForm = /^AGE-SECRET-KEY-1[02-9AC-HJ-NP-Z]{58}$/;

/** Whether a text has the form of an age recipient (`age1…`). */
export function isRecipient(text: string): boolean {
  return recipientForm.test(text);
}

/**
 * @param text the content of a file in the format of `age -R`
 * @throws MintError `usage`
 */
export function recipientsOf(text: string): readonly string[] {
  const lines = linesOf(text);
  if (lines.length > 0 && lines.every(isRecipient)) return lines;
  throw new MintError('usage', 'this is not a file of age recipients', {
    hint: 'put one X25519 recipient on each line: "age1" and 58 characters, as `age-keygen` prints it',
  });
}

/**
 * @param text the content of a file in the format of `age -i`
 * @throws MintError `usage`; the message never quotes the file
 */
export function identitiesOf(text: string): readonly string[] {
  const lines = linesOf(text);
  if (lines.length > 0 && lines.every((line) => identityForm.test(line))) return lines;
  throw new MintError('usage', 'this is not an age identity file', {
    hint: 'it has lines "AGE-SECRET-KEY-1…", as `age-keygen` writes it',
  });
}

/**
 * @returns the encrypted file in armored form, which can be sent by mail
 * @throws MintError `usage` for a mistyped recipient
 */
export async function encryptKey(key: Buffer, readers: Readers): Promise<string> {
  const { armor, Encrypter } = await import('age-encryption');
  const encrypter = new Encrypter();
  if ('passphrase' in readers) encrypter.setPassphrase(readers.passphrase);
  else {
    for (const recipient of readers.recipients) {
      try {
        encrypter.addRecipient(recipient);
      } catch (cause) {
        throw new MintError('usage', `invalid age recipient: ${recipient} (wrong checksum)`, { cause });
      }
    }
  }
  return armor.encode(await encrypter.encrypt(key));
}

/**
 * @returns undefined if this is not an age file
 * @throws MintError `key-invalid` for a damaged age file
 */
export async function parseSharedFile(content: Buffer): Promise<SharedFile | undefined> {
  const text = content.toString('latin1');
  if (text.startsWith(plain)) return { bytes: content, wants: wanted(text) };
  if (!text.trimStart().startsWith(armored)) return undefined;
  const { armor } = await import('age-encryption');
  try {
    const bytes = armor.decode(text);
    return { bytes, wants: wanted(Buffer.from(bytes).toString('latin1')) };
  } catch (cause) {
    throw damaged(cause);
  }
}

/**
 * Decrypts the file.
 *
 * @throws MintError `key-passphrase` if it cannot be decrypted
 */
export async function decryptKey({ bytes }: SharedFile, opener: Opener): Promise<Buffer> {
  const { Decrypter } = await import('age-encryption');
  const decrypter = new Decrypter();
  try {
    if ('passphrase' in opener) decrypter.addPassphrase(opener.passphrase);
    else for (const identity of opener.identities) decrypter.addIdentity(identity);
    return Buffer.from(await decrypter.decrypt(bytes));
  } catch (cause) {
    const message =
      'passphrase' in opener
        ? 'wrong passphrase for this file'
        : 'the file is encrypted to other identities, or is damaged';
    throw new MintError('key-passphrase', message, { cause });
  }
}

function wanted(header: string): SharedFile['wants'] {
  return /^age-encryption\.org\/v1\n-> scrypt /.test(header) ? 'passphrase' : 'identity';
}

function linesOf(text: string): readonly string[] {
  const lines = text.split(/\r?\n/).map((line) => line.trim());
  return lines.filter((line) => line !== '' && !line.startsWith('#'));
}

function damaged(cause: unknown): MintError {
  return new MintError('key-invalid', 'this age file is truncated or damaged', { cause });
}
