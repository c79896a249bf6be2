/**
 * A change of one key spans three files. It is written down whole before the first of them is touched: from
 * the moment that `.journal` has its name the change will happen, at the latest when the store is next opened;
 * before it, nothing has happened.
 */
import { unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { readPrivateFile, writeAtomic } from '../../config/files.ts';
import { MintError } from '../../errors.ts';
import { emptyMetadata, isObject, type JsonObject, metadataWith, parseMetadata } from './metadata.ts';
import { isKeyName } from './profile-name.ts';

/** What becomes of one key. */
export interface KeyChange {
  readonly name: string;
  /** Its entry in metadata.json; undefined: the key goes, and its files with it. */
  readonly entry: JsonObject | undefined;
  /** The bytes of the private key's file; undefined leaves it. */
  readonly privateKey?: Buffer | undefined;
  /** The line in the public key's file; undefined leaves it. */
  readonly publicKey?: string | undefined;
}

export const metadataFile = 'metadata.json';
export const journalFile = '.journal';

const maxBytes = { journal: 1_000_000, metadata: 16_000_000 };

/** Makes the change; a process that is killed here has made it or not begun it. Only under the store's lock. */
export function makeChange(directory: string, change: KeyChange): void {
  const { name, entry, privateKey, publicKey } = change;
  const written = {
    name,
    entry: entry ?? null,
    private_key: privateKey?.toString('base64'),
    public_key: publicKey,
  };
  // Read first: a change is not begun on a metadata.json that it could not be entered in.
  readMetadata(directory);
  writeAtomic(join(directory, journalFile), JSON.stringify(written), { mode: 0o600 });
  finishChange(directory);
}

/** Finishes what a killed process had begun; false where there was nothing. Only under the store's lock. */
export function finishChange(directory: string): boolean {
  const journal = join(directory, journalFile);
  const bytes = readPrivateFile(journal, { maxBytes: maxBytes.journal, secret: true });
  if (bytes === undefined) return false;
  const { name, entry, privateKey, publicKey } = parseJournal(bytes.toString());
  const file = join(directory, name);
  const after = metadataWith(readMetadata(directory), name, entry);
  const writeMetadata = () => writeAtomic(join(directory, metadataFile), after, { mode: 0o600 });
  if (entry === undefined) {
    writeMetadata();
    remove(file);
    remove(`${file}.pub`);
  } else {
    if (privateKey !== undefined) writeAtomic(file, privateKey, { mode: 0o600 });
    if (publicKey !== undefined) writeAtomic(`${file}.pub`, publicKey, { mode: 0o644 });
    writeMetadata();
  }
  remove(journal);
  return true;
}

/** @throws MintError `key-store`, `unsafe-permissions`, `io-failed` */
export function readMetadata(directory: string) {
  const options = { maxBytes: maxBytes.metadata, tooLarge: 'key-store' } as const;
  const bytes = readPrivateFile(join(directory, metadataFile), options);
  return bytes === undefined ? emptyMetadata : parseMetadata(bytes.toString());
}

function parseJournal(text: string): KeyChange {
  const found = parseObject(text);
  const { name, entry, private_key: privateKey, public_key: publicKey } = found;
  const isText = (value: unknown) => value === undefined || typeof value === 'string';
  if (
    typeof name !== 'string' ||
    !isKeyName(name) ||
    !(entry === null || isObject(entry)) ||
    !isText(privateKey) ||
    !isText(publicKey)
  ) {
    throw damaged();
  }
  return {
    name,
    entry: entry ?? undefined,
    privateKey: typeof privateKey === 'string' ? Buffer.from(privateKey, 'base64') : undefined,
    publicKey: typeof publicKey === 'string' ? publicKey : undefined,
  };
}

function parseObject(text: string): JsonObject {
  try {
    const value: unknown = JSON.parse(text);
    if (isObject(value)) return value;
  } catch (cause) {
    throw damaged(cause);
  }
  throw damaged();
}

function damaged(cause?: unknown): MintError {
  return new MintError('key-store', 'the journal of the last change is damaged', {
    hint: '`mint-ssh keys doctor` puts it aside',
    cause,
  });
}

function remove(path: string): void {
  try {
    unlinkSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
}
