/**
 * A change of one key spans three files. It is written down whole before the first of them is touched: from
 * the moment that `.journal` has its name the change will happen, at the latest when the store is next opened;
 * before it, nothing has happened.
 */
import { unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { MintError } from '../../errors.ts';
import { readPrivateFile, writeAtomic } from '../../platform/files.ts';
import { emptyMetadata, isObject, type JsonObject, metadataWith, parseMetadata } from './metadata.ts';
import { isKeyName } from './profile-name.ts';

/** A private key's file and the `.pub` beside it. */
export interface KeyPair {
  readonly privateKey: Buffer;
  /** A line with its end. */
  readonly publicKey: string;
}

/** The keys of a rotation, beside the one in use: `<name>.next` and `<name>.old`. */
export type RotationKey = 'next' | 'old';

/** What becomes of one key. */
export interface KeyChange {
  readonly name: string;
  /** Its entry in metadata.json; undefined: the key goes, and its files with it. */
  readonly entry: JsonObject | undefined;
  /** The bytes of the private key's file; undefined leaves it. */
  readonly privateKey?: Buffer | undefined;
  /** The line in the public key's file; undefined leaves it. */
  readonly publicKey?: string | undefined;
  /** The other keys of a rotation; null takes one away, undefined leaves it. */
  readonly next?: KeyPair | null | undefined;
  readonly old?: KeyPair | null | undefined;
}

export const metadataFile = 'metadata.json';
export const journalFile = '.journal';

const maxBytes = { journal: 1_000_000, metadata: 16_000_000 };

/** Makes the change; a process that is killed here has made it or not begun it. Only under the store's lock. */
export function makeChange(directory: string, change: KeyChange): void {
  const { name, entry, privateKey, publicKey, next, old } = change;
  const written = {
    name,
    entry: entry ?? null,
    private_key: privateKey?.toString('base64'),
    public_key: publicKey,
    next: next && packed(next),
    old: old && packed(old),
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
  const { name, entry, privateKey, publicKey, ...others } = parseJournal(bytes.toString());
  const file = join(directory, name);
  const after = metadataWith(readMetadata(directory), name, entry);
  const writeMetadata = () => writeAtomic(join(directory, metadataFile), after, { mode: 0o600 });
  if (entry === undefined) {
    writeMetadata();
    for (const each of [file, `${file}.next`, `${file}.old`]) removePair(each);
  } else {
    write(file, { privateKey, publicKey });
    for (const role of ['next', 'old'] as const) write(`${file}.${role}`, others[role] ?? {});
    writeMetadata();
    for (const role of ['next', 'old'] as const) if (others[role] === null) removePair(`${file}.${role}`);
  }
  remove(journal);
  return true;
}

/** A change of nothing but the entry, which is one write and needs no journal. Only under the store's lock. */
export function changeEntry(directory: string, name: string, entry: JsonObject): void {
  const after = metadataWith(readMetadata(directory), name, entry);
  writeAtomic(join(directory, metadataFile), after, { mode: 0o600 });
}

function write(
  file: string,
  { privateKey, publicKey }: { readonly [Half in keyof KeyPair]?: KeyPair[Half] | undefined },
): void {
  if (privateKey !== undefined) writeAtomic(file, privateKey, { mode: 0o600 });
  if (publicKey !== undefined) writeAtomic(`${file}.pub`, publicKey, { mode: 0o644 });
}

function removePair(file: string): void {
  remove(file);
  remove(`${file}.pub`);
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
  const [next, old] = [unpacked(found['next']), unpacked(found['old'])];
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
    next,
    old,
  };
}

function packed({ privateKey, publicKey }: KeyPair): JsonObject {
  return { private_key: privateKey.toString('base64'), public_key: publicKey };
}

function unpacked(value: unknown): KeyPair | null | undefined {
  if (value === undefined || value === null) return value;
  const { private_key: privateKey, public_key: publicKey } = isObject(value) ? value : {};
  if (typeof privateKey !== 'string' || typeof publicKey !== 'string') throw damaged();
  return { privateKey: Buffer.from(privateKey, 'base64'), publicKey };
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
