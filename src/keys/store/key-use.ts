/** What the agent wants of the store: the key that lets in to a VM at this moment, and a note of its use. */
import { existsSync } from 'node:fs';
import { MintError } from '../../errors.ts';
import { changeEntry, readMetadata } from './journal.ts';
import { isNamedInEc2, lookUp, readPrivateKey, readPublicKey, timestamp, withStore } from './key-store.ts';
import type { KeyRecord } from './metadata.ts';

export interface ServedKey {
  readonly record: KeyRecord;
  /** The bytes of its file, for `parseKeyFile` and `openKeyFile`. */
  readonly privateKey: Buffer;
  /** The line in its `.pub` file. */
  readonly publicKey: string;
}

/** By its profile (or any other name a person has for it), or by an instance's KeyName, which is no profile. */
export type WhichKey = { readonly profile: string } | { readonly awsKeyName: string };

/** How long the store is waited for, in milliseconds: someone waits for a login, or nobody for a note. */
const wait = { login: 5_000, note: 200 };
/** A use is noted this often at most, in milliseconds. */
const noteInterval = 60_000;

/**
 * The key that lets in to this VM now: while a rotation is not finished, an instance that was down still has the
 * old one. Undefined where there is no such key. A key that was read before is good for as long as this gives the
 * same public line. @throws MintError `key-store`, `key-name`, `unsafe-permissions`, `io-failed`
 */
export function keyForVm(directory: string, which: WhichKey, vm: string): ServedKey | undefined {
  if (!existsSync(directory)) return undefined;
  const read = (): ServedKey | undefined => {
    const { keys } = readMetadata(directory);
    const record =
      'profile' in which
        ? lookUp(keys, which.profile)
        : keys.find((key) => isNamedInEc2(key, which.awsKeyName));
    if (record === undefined) return undefined;
    const { name, rotation } = record;
    const hasOld =
      rotation?.stage === 'removing' &&
      Object.hasOwn(rotation.instances, vm) &&
      rotation.instances[vm] === 'old';
    const role = hasOld ? 'old' : undefined;
    return {
      record,
      privateKey: readPrivateKey(directory, name, role),
      publicKey: readPublicKey(directory, name, role),
    };
  };
  return withStore(directory, read, wait.login);
}

/**
 * Notes that the VM was logged in to with this key just now. False where that could not be written: no login
 * depends on it. Never throws.
 */
export function recordUse(directory: string, name: string, vm: string): boolean {
  try {
    return withStore(directory, () => noteUse(directory, name, vm), wait.note);
  } catch (error) {
    if (error instanceof MintError) return false;
    throw error;
  }
}

function noteUse(directory: string, name: string, vm: string): boolean {
  const { keys, entries } = readMetadata(directory);
  const record = keys.find((key) => key.name === name);
  const entry = entries[name];
  if (record === undefined || entry === undefined) return false;
  const { instances, lastUsed } = record;
  const isListed = instances.some((one) => one.toLowerCase() === vm);
  const before = Object.hasOwn(lastUsed, vm) ? Date.parse(lastUsed[vm] ?? '') : Number.NaN;
  const age = Date.now() - before;
  if (isListed && age >= 0 && age < noteInterval) return true;
  changeEntry(directory, name, {
    ...entry,
    instances: isListed ? instances : [...instances, vm],
    last_used: { ...lastUsed, [vm]: timestamp() },
  });
  return true;
}
