/** Reads and writes the single files of the store; key-store.ts combines them. */
import { existsSync, mkdirSync, readdirSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { MintError } from '../../errors.ts';
import { ensureClosedDirectory, quoted, readPrivateFile, writeAtomic } from '../../platform/files.ts';
import { sleepSync } from '../../platform/sleep.ts';
import { blobOfLine, typeOfBlob } from './key-type.ts';
import {
  emptyMetadata,
  isObject,
  type JsonObject,
  type Metadata,
  metadataWith,
  parseMetadata,
} from './metadata.ts';
import { formatState, type OwnState, parseState } from './own-state.ts';

/** The contents of a private key file and its `.pub` file. */
export interface KeyPair {
  readonly privateKey: Buffer;
  /** One line, with its line end. */
  readonly publicKey: string;
}

/** The contents of both files, with the type of the key. */
export interface KeyMaterial extends KeyPair {
  readonly type: string;
}

/** The other key of a rotation: the next one, or the old one that is still needed. */
export type RotationKey = 'next' | 'old';

export interface KeyFiles {
  readonly privateKey: string;
  readonly publicKey: string;
}

export const metadataFile = 'metadata.json';
/** A directory in the store. Prism ignores hidden names, and no profile starts with a dot. */
export const ownDirectory = '.mint-ssh';
export const stateFile = join(ownDirectory, 'state.json');

const maxBytes = { key: 65_536, metadata: 16_000_000 };

/** The names of temporary files that `writeAtomic` leaves if it is killed. */
const temporaryFile = /^\..+\.[0-9a-f]{16}\.tmp$/;

/** @param role undefined for the key in use */
export function keyFiles(directory: string, name: string, role?: RotationKey): KeyFiles {
  const path = role === undefined ? join(directory, name) : join(directory, ownDirectory, `${name}.${role}`);
  return { privateKey: path, publicKey: `${path}.pub` };
}

/** @throws MintError `key-store` if the file does not exist, `unsafe-permissions`, `io-failed` */
export function readPrivateKey(directory: string, name: string, role?: RotationKey): Buffer {
  const path = keyFiles(directory, name, role).privateKey;
  return readPrivateFile(path, { maxBytes: maxBytes.key, secret: true }) ?? gone(path);
}

/**
 * @returns the line in the `.pub` file, without its line end
 * @throws MintError `key-store` if the file does not exist, `unsafe-permissions`, `io-failed`
 */
export function readPublicKey(directory: string, name: string, role?: RotationKey): string {
  const path = keyFiles(directory, name, role).publicKey;
  const bytes = readPrivateFile(path, { maxBytes: maxBytes.key }) ?? gone(path);
  return bytes.toString().trim();
}

/** @returns the key blob in a key's `.pub` file; undefined if the file is missing or damaged */
export function publicBlobOf(directory: string, name: string, role?: RotationKey): Buffer | undefined {
  try {
    return blobOfLine(readPublicKey(directory, name, role));
  } catch (error) {
    if (error instanceof MintError && error.code === 'key-store') return undefined;
    throw error;
  }
}

/**
 * Writes both files of a key.
 *
 * @param first `private` for a new key, which `doctor` can complete from its private half; `public` for the key of a
 *   rotation, which counts once its private half exists
 */
export function writePair(
  { privateKey, publicKey }: KeyFiles,
  pair: KeyPair,
  first: 'private' | 'public' = 'public',
): void {
  const files = [
    () => writeAtomic(publicKey, pair.publicKey, { mode: 0o644 }),
    () => writeAtomic(privateKey, pair.privateKey, { mode: 0o600 }),
  ];
  for (const write of first === 'public' ? files : files.reverse()) write();
}

/** Removes both files, the private half first. */
export function removePair({ privateKey, publicKey }: KeyFiles): void {
  remove(privateKey);
  remove(publicKey);
}

/**
 * Finishes rotations that were killed right after they committed the new key with a write of state.json: moves the new
 * key's file into its place. To be called only under the store's lock.
 */
export function finishSwitches(directory: string): void {
  if (!existsSync(join(directory, ownDirectory))) return;
  const state = readState(directory);
  for (const [name, { rotation }] of Object.entries(state)) {
    const next = keyFiles(directory, name, 'next');
    if (rotation === undefined || !existsSync(next.privateKey)) continue;
    const line = readPublicKey(directory, name, 'next');
    writePair(keyFiles(directory, name), {
      privateKey: readPrivateKey(directory, name, 'next'),
      publicKey: `${line}\n`,
    });
    const [metadata, blob] = [readMetadata(directory), blobOfLine(line)];
    const entry = metadata.entries[name];
    if (isObject(entry) && blob !== undefined) {
      const after = { ...entry, type: typeOfBlob(blob), created_at: rotation.startedAt };
      writeMetadata(directory, metadata, name, after);
    }
    // Removed last: while it exists, the next run repeats all of these steps.
    removePair(next);
  }
}

/** @throws MintError `key-store`, `unsafe-permissions`, `io-failed` */
export function readMetadata(directory: string): Metadata {
  const options = { maxBytes: maxBytes.metadata, tooLarge: 'key-store' } as const;
  for (let attempt = 1; ; attempt += 1) {
    const bytes = readPrivateFile(join(directory, metadataFile), options);
    if (bytes === undefined) return emptyMetadata;
    try {
      return parseMetadata(bytes.toString());
    } catch (error) {
      // Prism truncates and rewrites the file in place, so it may be incomplete at this moment.
      if (attempt >= 4) throw error;
      sleepSync(15);
    }
  }
}

/**
 * To be called only under the store's lock.
 *
 * @param entry undefined removes the key's entry
 */
export function writeMetadata(
  directory: string,
  metadata: Metadata,
  name: string,
  entry: JsonObject | undefined,
): void {
  writeAtomic(join(directory, metadataFile), metadataWith(metadata, name, entry), { mode: 0o600 });
}

/** @throws MintError `key-store`, `unsafe-permissions`, `io-failed` */
export function readState(directory: string): OwnState {
  const options = { maxBytes: maxBytes.metadata, tooLarge: 'key-store' } as const;
  const bytes = readPrivateFile(join(directory, stateFile), options);
  return bytes === undefined ? {} : parseState(bytes.toString());
}

/** Only under the store's lock. */
export function writeState(directory: string, state: OwnState): void {
  ensureOwnDirectory(directory);
  writeAtomic(join(directory, stateFile), formatState(state), { mode: 0o600 });
}

/**
 * Makes the store's directory for our own files, closed to other users.
 * @throws MintError `unsafe-permissions`
 */
export function ensureOwnDirectory(directory: string): void {
  const own = join(directory, ownDirectory);
  mkdirSync(own, { recursive: true, mode: 0o700 });
  ensureClosedDirectory(own);
}

/** @returns the unparsed entry of a key in metadata.json */
export function rawEntry(directory: string, name: string): JsonObject | undefined {
  const entry = readMetadata(directory).entries[name];
  return isObject(entry) ? entry : undefined;
}

function gone(path: string): never {
  throw new MintError('key-store', `metadata.json has a key whose file is missing: ${quoted(path)}`, {
    hint: 'run `mint-ssh keys doctor`; if the private key is lost, restore its file from a backup or delete the profile',
  });
}

/** @returns ISO 8601 without fractions of a second, as in the format of metadata.json */
export function timestamp(at = new Date()): string {
  return at.toISOString().replace(/\.\d+Z$/, 'Z');
}

/**
 * Removes temporary files of killed processes, which may contain a private key. To be called only under the store's lock.
 */
export function sweep(directory: string): void {
  for (const place of [directory, join(directory, ownDirectory)]) {
    if (!existsSync(place)) continue;
    for (const file of readdirSync(place)) if (temporaryFile.test(file)) unlinkSync(join(place, file));
  }
}

function remove(path: string): void {
  try {
    unlinkSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
}
