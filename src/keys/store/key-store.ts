/**
 * The directory with the managed keys: `<name>`, `<name>.pub` and metadata.json, as in CloudWorkstation and Prism, and
 * `.mint-ssh/` with mint-ssh's own files: state.json, and the other key of an unfinished rotation.
 *
 * Several processes use it at once, so everything happens under one lock. A process may be killed between two writes:
 * - create, import: the key's files come before the entry that names them. `doctor` adds an entry for such files.
 * - delete: the files go before the entry. An entry without files is shown as such, and can be deleted again.
 * - rotate: see rotation.ts.
 */

import { existsSync, lstatSync } from 'node:fs';
import { join } from 'node:path';
import { closest } from '../../cli/suggest.ts';
import { MintError } from '../../errors.ts';
import { ensureClosedDirectory, quoted } from '../../platform/files.ts';
import { withLock } from '../../platform/lock.ts';
import { instancePattern } from '../../settings/vm-name.ts';
import {
  entryFields,
  isObject,
  type MetadataEntry,
  metadataWith,
  shownName,
  type UnusableEntry,
} from './metadata.ts';
import { migrateOlderStore } from './older-store.ts';
import { type Ec2Name, emptyKeyState, type KeyState, type Machine } from './own-state.ts';
import { awsKeyName, isProfile, keyNameOf } from './profile-name.ts';
import {
  finishSwitches,
  type KeyFiles,
  type KeyMaterial,
  keyFiles,
  readMetadata,
  readState,
  removePair,
  sweep,
  timestamp,
  writeMetadata,
  writePair,
  writeState,
} from './store-files.ts';

/** A key with its entry in metadata.json and its state. */
export interface KeyRecord extends MetadataEntry, KeyState {
  /** A rotation was interrupted before its new key was in use. The next run continues with that key. */
  readonly hasNext: boolean;
}

const lockTimeoutMs = 120_000;
/**
 * Runs `action` under the store's lock. Creates the store if it does not exist, and first finishes what a killed process
 * left.
 *
 * @throws MintError `unsafe-permissions`, `io-failed`, `key-store`
 */
export function withStore<T>(directory: string, action: () => T, wait = lockTimeoutMs): T {
  ensureClosedDirectory(directory);
  return withLock(join(directory, '.lock'), wait, () => {
    sweep(directory);
    migrateOlderStore(directory);
    finishSwitches(directory);
    rememberNames(directory);
    return action();
  });
}

/** Prism overwrites a key's name in EC2 with that of its last launch. state.json keeps the earlier names. */
function rememberNames(directory: string): void {
  const state = readState(directory);
  const news = readMetadata(directory).keys.flatMap((entry) => {
    const own = Object.hasOwn(state, entry.name) ? (state[entry.name] ?? emptyKeyState) : emptyKeyState;
    const ec2Names = withOwnName(own.ec2Names, entry);
    return ec2Names.length > own.ec2Names.length ? [[entry.name, { ...own, ec2Names }] as const] : [];
  });
  if (news.length > 0) writeState(directory, { ...state, ...Object.fromEntries(news) });
}

/** @returns the usable keys, in the order of metadata.json; empty if there is no store, which it does not create */
export function listKeys(directory: string): readonly KeyRecord[] {
  return readStore(directory).keys;
}

/** @returns the keys of the store, and the unusable entries */
export function readStore(directory: string): {
  readonly keys: readonly KeyRecord[];
  readonly unusable: readonly UnusableEntry[];
} {
  if (!existsSync(directory)) return { keys: [], unusable: [] };
  return withStore(directory, () => {
    const metadata = readMetadata(directory);
    return { keys: recordsOf(directory, metadata), unusable: metadata.unusable };
  });
}

/** Reads the store. Consistent only under the store's lock; without it, each file is still complete. */
export function recordsOf(directory: string, metadata = readMetadata(directory)): KeyRecord[] {
  const state = readState(directory);
  return metadata.keys.map((entry) => {
    const own = Object.hasOwn(state, entry.name) ? (state[entry.name] ?? emptyKeyState) : emptyKeyState;
    const hasNext = existsSync(keyFiles(directory, entry.name, 'next').privateKey);
    return {
      ...entry,
      machines: [...own.machines, ...machinesNamed(entry.instances, own)],
      ec2Names: withOwnName(own.ec2Names, entry),
      rotation: own.rotation,
      hasNext,
    };
  });
}

/** Machines that only metadata.json has: another program launched them, while a rotation is open perhaps with the old key. */
function machinesNamed(instances: readonly string[], { machines, rotation }: KeyState): Machine[] {
  return instances
    .filter((one) => !machines.some((machine) => isMachine(machine, one)))
    .map((one) => ({
      instance: instancePattern.test(one) ? one : undefined,
      name: one,
      user: undefined,
      region: undefined,
      lastUsed: undefined,
      proved: undefined,
      accepts: rotation === undefined ? undefined : 'old',
    }));
}

/** @returns whether `given` is the machine's instance ID or name */
export function isMachine({ instance, name }: Machine, given: string): boolean {
  return instance === given || name.toLowerCase() === given.toLowerCase();
}

function withOwnName(names: readonly Ec2Name[], { region, awsKeyName: name }: MetadataEntry): Ec2Name[] {
  const isKnown = names.some((at) => at.region === region && at.name === name);
  return region === undefined || name === undefined || isKnown ? [...names] : [...names, { region, name }];
}

/**
 * Finds a key by its profile or by its name in EC2, such as an instance's KeyName.
 *
 * @throws MintError `key-not-found`, `key-store`, `key-name`
 */
export function findKey(directory: string, given: string): KeyRecord {
  const { keys, unusable } = readStore(directory);
  const other = unusable.find(({ name }) => name === given || name === given.toLowerCase());
  if (other !== undefined) {
    throw new MintError('key-name', `the key ${quoted(shownName(other.name))} cannot be used: ${other.why}`, {
      hint: 'import its file under another profile: mint-ssh keys import PROFILE --key-file FILE',
    });
  }
  const found = lookUp(keys, given);
  if (found !== undefined) return found;
  const near = closest(
    given,
    keys.map(({ name }) => name),
  );
  throw new MintError('key-not-found', `no key named ${quoted(shownName(given))}`, {
    hint:
      near === undefined
        ? '`mint-ssh keys list` shows all, `mint-ssh keys create PROFILE` makes one'
        : `did you mean: ${near}`,
  });
}

/**
 * @returns the key with this name or name in EC2; undefined if there is none
 * @throws MintError `key-name` for an invalid name, `key-store` if two keys have it
 */
export function lookUp(keys: readonly KeyRecord[], given: string): KeyRecord | undefined {
  const [first, ...more] = keys.filter((key) => isNamedInEc2(key, given));
  // A name in EC2 may be longer than a profile.
  const name = first === undefined || isProfile(given) ? keyNameOf(given) : undefined;
  const own = keys.find((key) => key.name === name);
  if (own !== undefined || more.length === 0) return own ?? first;
  throw new MintError('key-store', `metadata.json gives the AWS name ${quoted(given)} to more than one key`);
}

/** Whether the key has this name in EC2, in any region. */
export function isNamedInEc2({ ec2Names }: Pick<KeyRecord, 'ec2Names'>, given: string): boolean {
  return ec2Names.some(({ name }) => name === given);
}

/**
 * Checks that a profile has no key yet. It does not create the store.
 *
 * @throws MintError `key-exists`, `key-name`
 */
export function checkFree(directory: string, profile: string): void {
  const name = keyNameOf(profile);
  if (existsSync(directory)) withStore(directory, () => refuseTaken(directory, name, profile));
}

function refuseTaken(directory: string, name: string, profile: string): void {
  if (Object.hasOwn(readMetadata(directory).entries, name)) throw isTaken(name, profile);
  const files = Object.values(keyFiles(directory, name));
  const found = files.find((path) => lstatSync(path, { throwIfNoEntry: false }) !== undefined);
  if (found !== undefined) {
    throw new MintError('key-exists', `${quoted(found)} exists, and metadata.json does not name it`, {
      hint: '`mint-ssh keys doctor` adds it where it is a key; otherwise move it away',
    });
  }
  for (const role of ['old', 'next'] as const) {
    const kept = keyFiles(directory, name, role).privateKey;
    if (!existsSync(kept)) continue;
    throw new MintError('key-exists', `an earlier key of ${name} is still kept in ${quoted(kept)}`, {
      hint: `where no instance needs it: \`mint-ssh keys delete ${name} --force\``,
    });
  }
}

/** The profile of a new key, and its earlier properties if it was imported. */
export interface NewKeyPlace {
  /** The profile, or the name of a dedicated key. */
  readonly profile: string;
  readonly region: string | undefined;
  /** Its name in EC2, if it already has one. */
  readonly awsKeyName?: string | undefined;
  /** ISO 8601; default: now. */
  readonly createdAt?: string;
}

/** @throws MintError `key-exists`, `key-name`, `key-store`, `usage` for a bad region */
export function addKey(
  directory: string,
  { profile, region, awsKeyName: named, createdAt = timestamp() }: NewKeyPlace,
  { privateKey, publicKey, type }: KeyMaterial,
): KeyRecord {
  const name = keyNameOf(profile);
  return withStore(directory, () => {
    refuseTaken(directory, name, profile);
    const ec2Name = named ?? awsKeyName(name, region, prefixOf(readMetadata(directory).keys));
    const entry = { name, region, awsKeyName: ec2Name, createdAt, type, instances: [] };
    const record = { ...entry, ...emptyKeyState, ec2Names: withOwnName([], entry), hasNext: false };
    writePair(keyFiles(directory, name), { privateKey, publicKey }, 'private');
    if (record.ec2Names.length > 0) writeKeyState(directory, record);
    writeEntry(directory, record);
    return record;
  });
}

/** New keys get the prefix of the newest key: `cws-…` of CloudWorkstation, or `prism-…` of Prism. */
function prefixOf(keys: readonly MetadataEntry[]): 'cws' | 'prism' {
  const named = keys.filter(({ awsKeyName: name }) => /^(?:cws|prism)-/.test(name ?? ''));
  const newest = named.sort((one, other) => age(one) - age(other))[0];
  return newest?.awsKeyName?.startsWith('prism-') === true ? 'prism' : 'cws';
}

function age({ createdAt }: MetadataEntry): number {
  const at = Date.parse(createdAt);
  return Number.isNaN(at) ? Number.POSITIVE_INFINITY : -at;
}

/**
 * Removes the key's files, those of a rotation included, and then its entry.
 *
 * @returns whether the key existed
 */
export function removeKey(directory: string, name: string): boolean {
  return withStore(directory, () => {
    const metadata = readMetadata(directory);
    const files = ([undefined, 'next', 'old'] as const).map((role) => keyFiles(directory, name, role));
    const isKnown = Object.hasOwn(metadata.entries, name) || files.some(isThere);
    for (const each of files) removePair(each);
    const { [name]: own, ...others } = readState(directory);
    if (own !== undefined) writeState(directory, others);
    if (Object.hasOwn(metadata.entries, name)) writeMetadata(directory, metadata, name, undefined);
    return isKnown;
  });
}

/**
 * Changes the record of a key, but not its files. Only changed fields are written: first state.json, then metadata.json,
 * which has the names of the machines for other programs.
 *
 * @param change returns the new record, or undefined to leave it; called under the store's lock
 * @returns the new record; undefined if the key does not exist
 */
export function changeKey(
  directory: string,
  name: string,
  change: (record: KeyRecord) => KeyRecord | undefined,
  wait = lockTimeoutMs,
): KeyRecord | undefined {
  return withStore(
    directory,
    () => {
      const record = recordsOf(directory).find((key) => key.name === name);
      if (record === undefined) return undefined;
      const after = change(record);
      if (after === undefined) return record;
      writeRecord(directory, after);
      return after;
    },
    wait,
  );
}

/** Only under the store's lock. */
export function writeRecord(directory: string, record: KeyRecord): void {
  writeKeyState(directory, record);
  writeEntry(directory, record);
}

/** The commit point of every change of a rotation. Only under the store's lock. */
export function writeKeyState(directory: string, { name, machines, ec2Names, rotation }: KeyRecord): void {
  const state = readState(directory);
  const own = { machines, ec2Names, rotation };
  const before = Object.hasOwn(state, name) ? state[name] : emptyKeyState;
  if (JSON.stringify(before) !== JSON.stringify(own)) writeState(directory, { ...state, [name]: own });
}

function writeEntry(directory: string, record: KeyRecord): void {
  const metadata = readMetadata(directory);
  const before = metadata.entries[record.name];
  const { instances, machines } = record;
  const kept = instances.filter((one) => machines.some((machine) => isMachine(machine, one)));
  const added = machines.filter((machine) => !kept.some((one) => isMachine(machine, one)));
  const all = [...new Set([...kept, ...added.map(({ name }) => name)])];
  const known = isObject(before) ? before : {};
  const entry = { ...known, ...entryFields({ ...record, instances: all }) };
  const isSame = metadataWith(metadata, record.name, entry) === metadataWith(metadata, record.name, known);
  if (!isSame) writeMetadata(directory, metadata, record.name, entry);
}

function isThere({ privateKey, publicKey }: KeyFiles): boolean {
  return [privateKey, publicKey].some((path) => lstatSync(path, { throwIfNoEntry: false }) !== undefined);
}

function isTaken(name: string, given: string): MintError {
  const message =
    given === name
      ? `there is a key of ${name} already`
      : `${quoted(given)} is kept as ${name}, and there is a key of that name already`;
  return new MintError('key-exists', message, {
    hint: `\`mint-ssh keys show ${name}\` shows it; another profile needs a name that differs in more than case, spaces, hyphens and underscores`,
  });
}
