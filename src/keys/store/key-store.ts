/** The directory with the managed keys: `<name>`, `<name>.pub` and metadata.json. */
import { existsSync, lstatSync, readdirSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { printable } from '../../cli/terminal.ts';
import { MintError } from '../../errors.ts';
import { ensureClosedDirectory, quoted, readPrivateFile } from '../../platform/files.ts';
import { withLock } from '../../platform/lock.ts';
import { finishChange, type KeyPair, makeChange, type RotationKey, readMetadata } from './journal.ts';
import { type KeyRecord, newEntry } from './metadata.ts';
import { awsKeyName, isProfile, keyNameOf } from './profile-name.ts';

/** What a private key's file and its `.pub` are made of. */
export interface KeyMaterial extends KeyPair {
  readonly type: string;
}

export interface KeyFiles {
  readonly privateKey: string;
  readonly publicKey: string;
}

/** Milliseconds. */
const lockWait = 120_000;
const maxKeyBytes = 65_536;

/** What `writeAtomic` leaves when it is killed. */
const temporaryFile = /^\..+\.[0-9a-f]{16}\.tmp$/;

/**
 * Runs `action` alone in the store, whose last change is whole by then. A store that is not there is made.
 * @throws MintError `unsafe-permissions`, `io-failed`, `key-store`
 */
export function withStore<T>(directory: string, action: () => T, wait = lockWait): T {
  ensureClosedDirectory(directory);
  return withLock(join(directory, '.lock'), wait, () => {
    finishChange(directory);
    sweep(directory);
    return action();
  });
}

/** Every key that metadata.json has, in its order; none where there is no store, and none is made. */
export function listKeys(directory: string): readonly KeyRecord[] {
  if (!existsSync(directory)) return [];
  return withStore(directory, () => readMetadata(directory).keys);
}

/**
 * The key of a profile, or the one with this name in EC2: an instance's KeyName is as good.
 * @throws MintError `key-not-found`, `key-store`
 */
export function findKey(directory: string, given: string): KeyRecord {
  const found = lookUp(listKeys(directory), given);
  if (found !== undefined) return found;
  throw new MintError('key-not-found', `there is no key of ${quoted(printable(given.slice(0, 80)))}`, {
    hint: '`mint-ssh keys list` shows all, `mint-ssh keys create PROFILE` makes one',
  });
}

/** @throws MintError `key-name` for what no key may be called, `key-store` where two have the name */
export function lookUp(keys: readonly KeyRecord[], given: string): KeyRecord | undefined {
  const [first, ...more] = keys.filter((key) => isNamedInEc2(key, given));
  // A name in EC2 may be longer than any profile.
  const name = first === undefined || isProfile(given) ? keyNameOf(given) : undefined;
  const own = keys.find((key) => key.name === name);
  if (own !== undefined || more.length === 0) return own ?? first;
  throw new MintError('key-store', `metadata.json gives the AWS name ${quoted(given)} to more than one key`);
}

export function isNamedInEc2({ awsKeyName, awsKeyNames }: KeyRecord, given: string): boolean {
  return awsKeyName === given || Object.values(awsKeyNames).some((other) => other === given);
}

/** Refuses a profile whose name is taken; makes no store. @throws MintError `key-exists`, `key-name` */
export function checkFree(directory: string, profile: string): void {
  const name = keyNameOf(profile);
  if (existsSync(directory)) withStore(directory, () => refuseTaken(directory, name, profile));
}

function refuseTaken(directory: string, name: string, profile: string): void {
  const taken = readMetadata(directory).keys.find((key) => key.name === name);
  if (taken !== undefined) throw isTaken(taken, profile);
  for (const path of Object.values(keyFiles(directory, name))) {
    if (lstatSync(path, { throwIfNoEntry: false }) === undefined) continue;
    throw new MintError('key-exists', `${quoted(path)} is there, and metadata.json does not name it`, {
      hint: '`mint-ssh keys doctor` takes it in where it is a key; otherwise move it away',
    });
  }
}

/** Whose a new key is, and what is known of it from before. */
export interface NewKeyPlace {
  /** Or the name of a dedicated key. */
  readonly profile: string;
  readonly region: string | undefined;
  /** Where it has a name in EC2 already, which need not be ours. */
  readonly awsKeyName?: string | undefined;
  /** ISO 8601; now, unless told. */
  readonly createdAt?: string;
}

/** @throws MintError `key-exists`, `key-name`, `key-store`, `usage` for a bad region */
export function addKey(
  directory: string,
  { profile, region, awsKeyName: named, createdAt = timestamp() }: NewKeyPlace,
  { privateKey, publicKey, type }: KeyMaterial,
): KeyRecord {
  const name = keyNameOf(profile);
  const made = {
    awsKeyName: named ?? awsKeyName(name, region),
    profile,
    region,
    createdAt,
    type,
    instances: [],
  };
  return withStore(directory, () => {
    refuseTaken(directory, name, profile);
    makeChange(directory, { name, entry: newEntry(made), privateKey, publicKey });
    return { name, awsKeyNames: {}, lastUsed: {}, rotation: undefined, ...made };
  });
}

/** Whether there was such a key. */
export function removeKey(directory: string, name: string): boolean {
  return withStore(directory, () => {
    if (!readMetadata(directory).keys.some((key) => key.name === name)) return false;
    makeChange(directory, { name, entry: undefined });
    return true;
  });
}

export function keyFiles(directory: string, name: string): KeyFiles {
  return { privateKey: join(directory, name), publicKey: join(directory, `${name}.pub`) };
}

/** @throws MintError `key-store` where the file is gone, `unsafe-permissions`, `io-failed` */
export function readPrivateKey(directory: string, name: string, role?: RotationKey): Buffer {
  const path = keyFiles(directory, fileName(name, role)).privateKey;
  return readPrivateFile(path, { maxBytes: maxKeyBytes, secret: true }) ?? gone(path);
}

/** The line in the `.pub` file, without its end; the same errors. */
export function readPublicKey(directory: string, name: string, role?: RotationKey): string {
  const path = keyFiles(directory, fileName(name, role)).publicKey;
  const bytes = readPrivateFile(path, { maxBytes: maxKeyBytes }) ?? gone(path);
  return bytes.toString().trim();
}

function fileName(name: string, role: RotationKey | undefined): string {
  return role === undefined ? name : `${name}.${role}`;
}

function gone(path: string): never {
  throw new MintError('key-store', `metadata.json names a key whose file is gone: ${quoted(path)}`, {
    hint: '`mint-ssh keys doctor` makes what can be made; put a private key back yourself, or delete the profile',
  });
}

function isTaken({ name, profile }: KeyRecord, given: string): MintError {
  const other = profile === given || given === name;
  const message = other
    ? `there is a key of ${name} already`
    : `${quoted(given)} and ${quoted(printable(profile))} would both be kept as ${name}`;
  return new MintError('key-exists', message, {
    hint: other ? `\`mint-ssh keys show ${name}\` shows it` : 'take a name that differs in more than that',
  });
}

/** Seconds are enough, and what the format has. */
export function timestamp(at = new Date()): string {
  return at.toISOString().replace(/\.\d+Z$/, 'Z');
}

/** A killed process may have left a private key in one of these. Only under the store's lock. */
export function sweep(directory: string): void {
  for (const file of readdirSync(directory)) {
    if (temporaryFile.test(file)) unlinkSync(join(directory, file));
  }
}
