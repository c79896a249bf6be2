/**
 * Implements `keys doctor`: checks every file of the store, and repairs what needs no decision by the user. It keeps a copy
 * of a damaged file, and its readable entries stay in use.
 */
import { chmodSync, existsSync, lstatSync, readdirSync, renameSync, type Stats } from 'node:fs';
import { join } from 'node:path';
import { command } from '../../cli/shell-command.ts';
import { MintError } from '../../errors.ts';
import { ensureClosedDirectory, quoted, readPrivateFile, writeAtomic } from '../../platform/files.ts';
import { withLock } from '../../platform/lock.ts';
import { parseKeyFile } from './key-file.ts';
import { type KeyRecord, recordsOf } from './key-store.ts';
import { publicBlob, publicLine, typeOfBlob } from './key-type.ts';
import { entryFields, LaterStoreVersion, salvage, shownName } from './metadata.ts';
import { migrateOlderStore, olderJournal } from './older-store.ts';
import { emptyKeyState } from './own-state.ts';
import { openKeyFile } from './private-key.ts';
import { isKeyName } from './profile-name.ts';
import {
  finishSwitches,
  keyFiles,
  metadataFile,
  ownDirectory,
  publicBlobOf,
  type RotationKey,
  rawEntry,
  readMetadata,
  readPrivateKey,
  readState,
  removePair,
  stateFile,
  sweep,
  timestamp,
  writeMetadata,
} from './store-files.ts';

export interface Finding {
  readonly what: string;
  /** `left`: the file is valid, and mint-ssh does not change it. The hint says what the user has to do. */
  readonly remedy: 'repaired' | 'left' | { readonly hint: string };
}

/** Runs a function under the store's lock. */
type Locked = <T>(action: () => T) => T;

/**
 * Checks and repairs the store.
 *
 * @throws MintError `unsafe-permissions` if the directory belongs to another user, `key-store` for a later version
 */
export async function repairStore(directory: string): Promise<readonly Finding[]> {
  const findings: Finding[] = [...closeDirectory(directory)];
  ensureClosedDirectory(directory);
  const locked: Locked = (action) => withLock(join(directory, '.lock'), 120_000, action);
  findings.push(
    ...locked(() => {
      sweep(directory);
      const before = [
        ...closeFiles(directory),
        ...readableMetadata(directory),
        ...readableState(directory),
        ...olderFiles(directory),
      ];
      finishSwitches(directory);
      return before;
    }),
  );
  const { keys, unusable } = locked(() => readMetadata(directory));
  for (const { name } of keys) findings.push(...(await inspectKey(directory, name, locked)));
  for (const name of strangers(directory)) findings.push(await adopt(directory, name, locked));
  for (const { name, why } of unusable) {
    const what = `${quoted(shownName(name))} is left as it is: ${why}`;
    const hint = 'correct the entry in metadata.json; the key file itself is not changed';
    findings.push({ what, remedy: isKeyName(name) ? { hint } : 'left' });
  }
  for (const record of locked(() => recordsOf(directory))) {
    findings.push(...(await inspectRotation(directory, record, locked)));
  }
  return findings;
}

function repaired(what: string): Finding {
  return { what, remedy: 'repaired' };
}

function closeDirectory(directory: string): Finding[] {
  const found = lstatSync(directory);
  if (!hasModes || !found.isDirectory() || !isOurs(found) || (found.mode & 0o077) === 0) return [];
  chmodSync(directory, 0o700);
  return [repaired(`other users could read ${quoted(directory)}`)];
}

/** Sets the modes of the files: 0600, and 0644 for public keys. */
function closeFiles(directory: string): Finding[] {
  const findings: Finding[] = [];
  for (const place of [directory, join(directory, ownDirectory)]) {
    for (const file of existsSync(place) ? readdirSync(place) : []) {
      const path = join(place, file);
      const found = lstatSync(path, { throwIfNoEntry: false });
      if (found === undefined || !found.isFile() || !isOurs(found)) continue;
      const key = file.replace(/\.pub$/, '').replace(/\.(?:next|old)$/, '');
      const isPublic = file.endsWith('.pub') && isKeyName(key);
      const isStores = isKeyName(key) || [metadataFile, olderJournal, 'state.json'].includes(file);
      const forbidden = isPublic ? 0o022 : 0o077;
      if (!hasModes || !isStores || (found.mode & forbidden) === 0) continue;
      chmodSync(path, isPublic ? 0o644 : 0o600);
      findings.push(
        repaired(`${quoted(path)} was readable by other users (mode ${(found.mode & 0o777).toString(8)})`),
      );
    }
  }
  return findings;
}

/** Writes the readable entries of a broken file into a new one. A file of a later version is not changed. */
function readableMetadata(directory: string): Finding[] {
  try {
    readMetadata(directory);
    return [];
  } catch (error) {
    const isBroken = error instanceof MintError && error.code === 'key-store';
    if (!isBroken || error instanceof LaterStoreVersion) throw error;
    const path = join(directory, metadataFile);
    const text = salvage(readPrivateFile(path, { maxBytes: 16_000_000 })?.toString() ?? '');
    const aside = setAside(directory, metadataFile);
    if (text !== undefined) writeAtomic(path, text, { mode: 0o600 });
    const names = Object.keys(readMetadata(directory).entries).map(shownName).join(', ') || 'none';
    return [repaired(`${error.message}; a copy is ${aside}; entries that could be read: ${names}`)];
  }
}

function readableState(directory: string): Finding[] {
  try {
    readState(directory);
    return [];
  } catch (error) {
    const isBroken = error instanceof MintError && error.code === 'key-store';
    if (!isBroken || error instanceof LaterStoreVersion) throw error;
    const aside = setAside(directory, stateFile);
    return [repaired(`${error.message}; a copy is ${aside}`)];
  }
}

function olderFiles(directory: string): Finding[] {
  const had = existsSync(join(directory, olderJournal));
  try {
    migrateOlderStore(directory);
    return had ? [repaired('an interrupted change was finished')] : [];
  } catch (error) {
    if (!(error instanceof MintError) || error.code !== 'key-store') throw error;
    const aside = setAside(directory, olderJournal);
    migrateOlderStore(directory);
    return [repaired(`${error.message}; a copy is ${aside}`)];
  }
}

/** @returns the name of the copy */
function setAside(directory: string, file: string): string {
  const base = file.split('/').at(-1) ?? file;
  const aside = `${base.replace(/^\./, '')}.broken-${new Date().toISOString().replaceAll(/[:.]/g, '-')}`;
  renameSync(join(directory, file), join(directory, aside));
  return aside;
}

/** The public half of a private key; undefined if it cannot be read without the passphrase. */
async function publicHalf(
  directory: string,
  name: string,
  role?: RotationKey,
): Promise<Buffer | undefined | MintError> {
  try {
    const file = parseKeyFile(readPrivateKey(directory, name, role));
    if (file.encrypted) return file.publicBlob;
    return publicBlob(await openKeyFile(file, undefined));
  } catch (error) {
    if (error instanceof MintError) return error;
    throw error;
  }
}

async function inspectKey(
  directory: string,
  name: string,
  locked: Locked,
  role?: RotationKey,
): Promise<Finding[]> {
  const files = keyFiles(directory, name, role);
  const blob = await publicHalf(directory, name, role);
  if (blob instanceof MintError) {
    const backup =
      role === 'old'
        ? `put it back from a backup; \`mint-ssh keys rotate ${name} --force\` gives up the instances that have no other key`
        : `put the file back from a backup, or \`mint-ssh keys delete ${name}\``;
    const hint = blob.code === 'key-store' || role === 'old' ? backup : (blob.hint ?? backup);
    return [{ what: `${quoted(files.privateKey)}: ${blob.message}`, remedy: { hint } }];
  }
  // The public half is not readable in an old format with a passphrase.
  if (blob === undefined || publicBlobOf(directory, name, role)?.equals(blob) === true) return [];
  locked(() => writeAtomic(files.publicKey, publicLine(blob, name), { mode: 0o644 }));
  return [repaired(`${quoted(files.publicKey)} was missing, or had another key`)];
}

async function inspectRotation(
  directory: string,
  { name, rotation, hasNext }: KeyRecord,
  locked: Locked,
): Promise<Finding[]> {
  const old = keyFiles(directory, name, 'old').privateKey;
  if (hasNext) {
    if (!((await publicHalf(directory, name, 'next')) instanceof MintError)) {
      return inspectKey(directory, name, locked, 'next');
    }
    // Every machine that got it also accepts the key in use.
    locked(() => removePair(keyFiles(directory, name, 'next')));
    return [
      repaired(
        `the new key of a rotation of ${name} was damaged, and was removed: the rotation has not begun`,
      ),
    ];
  }
  if (rotation !== undefined) return inspectKey(directory, name, locked, 'old');
  if (!existsSync(old)) return [];
  const hint = `where an instance may still need it: ${command`mint-ssh keys import PROFILE --key-file ${old}`}; then remove the file`;
  return [{ what: `${quoted(old)} is the old key of an unknown rotation`, remedy: { hint } }];
}

/** Adds keys that metadata.json does not have. */
function strangers(directory: string): string[] {
  const { entries } = readMetadata(directory);
  const names = readdirSync(directory).map((file) => file.replace(/\.pub$/, ''));
  return [...new Set(names)].filter((name) => isKeyName(name) && !Object.hasOwn(entries, name));
}

async function adopt(directory: string, name: string, locked: Locked): Promise<Finding> {
  const path = keyFiles(directory, name).privateKey;
  const found = await publicHalf(directory, name);
  const blob = found ?? publicBlobOf(directory, name);
  if (blob === undefined || blob instanceof MintError) {
    const why = blob?.message ?? 'it has a passphrase and no .pub file';
    const what = `metadata.json does not have ${quoted(path)}, which cannot be added: ${why}`;
    return { what, remedy: { hint: 'import it under its profile, or move it away' } };
  }
  locked(() => {
    if (rawEntry(directory, name) !== undefined) return;
    const { ec2Names, machines } = readState(directory)[name] ?? emptyKeyState;
    const entry = entryFields({
      name,
      region: ec2Names[0]?.region,
      awsKeyName: ec2Names[0]?.name,
      createdAt: timestamp(lstatSync(path).mtime),
      type: typeOfBlob(blob),
      instances: machines.map((machine) => machine.name),
    });
    writeAtomic(`${path}.pub`, publicLine(blob, name), { mode: 0o644 });
    writeMetadata(directory, readMetadata(directory), name, entry);
  });
  return repaired(`metadata.json did not have the key ${quoted(path)}`);
}

/** On Windows every file has the same mode. */
const hasModes = process.getuid !== undefined;

function isOurs({ uid }: Stats): boolean {
  return process.getuid === undefined || uid === process.getuid();
}
