/** What `keys doctor` does: looks at every file of the store, and mends what can be mended without a person. */
import { chmodSync, lstatSync, readdirSync, renameSync, type Stats } from 'node:fs';
import { join } from 'node:path';
import { MintError } from '../../errors.ts';
import { ensureClosedDirectory, quoted } from '../../platform/files.ts';
import { withLock } from '../../platform/lock.ts';
import { finishChange, journalFile, makeChange, metadataFile, readMetadata } from './journal.ts';
import { blobInFile, publicHalf } from './key-halves.ts';
import { keyFiles, sweep } from './key-store.ts';
import { publicLine, typeOfBlob } from './key-type.ts';
import { type KeyRecord, newEntry } from './metadata.ts';
import { isKeyName } from './profile-name.ts';
import { type Finding, inspectRotation, type Locked, mended } from './repair-rotation.ts';

/** @throws MintError `unsafe-permissions` where the directory is not ours, `key-store` for a later version */
export async function repairStore(directory: string): Promise<readonly Finding[]> {
  const findings: Finding[] = [...closeDirectory(directory)];
  ensureClosedDirectory(directory);
  const locked = <T>(action: () => T): T => withLock(join(directory, '.lock'), 120_000, action);
  findings.push(
    ...locked(() => [...closeFiles(directory), ...finishJournal(directory), ...readableMetadata(directory)]),
  );
  locked(() => sweep(directory));
  const keys = locked(() => readMetadata(directory).keys);
  for (const key of keys) findings.push(...(await inspectKey(directory, key, locked)));
  for (const name of strangers(directory, keys)) findings.push(await adopt(directory, name, locked));
  const all = locked(() => readMetadata(directory).keys);
  for (const key of all) findings.push(...(await inspectRotation(directory, key, locked)));
  return findings;
}

function closeDirectory(directory: string): Finding[] {
  const found = lstatSync(directory);
  if (!hasModes || !found.isDirectory() || !isOurs(found) || (found.mode & 0o077) === 0) return [];
  chmodSync(directory, 0o700);
  return [mended(`others could look into ${quoted(directory)}`)];
}

/** Modes as they are written: 0600, and 0644 for what is public. */
function closeFiles(directory: string): Finding[] {
  const findings: Finding[] = [];
  for (const file of readdirSync(directory)) {
    const path = join(directory, file);
    const found = lstatSync(path, { throwIfNoEntry: false });
    if (found === undefined || !found.isFile() || !isOurs(found)) continue;
    const key = file.replace(/\.pub$/, '').replace(/\.(?:next|old)$/, '');
    const isPublic = file.endsWith('.pub') && isKeyName(key);
    const isStores = isKeyName(key) || file === metadataFile || file === journalFile;
    const forbidden = isPublic ? 0o022 : 0o077;
    if (!hasModes || !isStores || (found.mode & forbidden) === 0) continue;
    chmodSync(path, isPublic ? 0o644 : 0o600);
    findings.push(mended(`${quoted(path)} was open to others (mode ${(found.mode & 0o777).toString(8)})`));
  }
  return findings;
}

function finishJournal(directory: string): Finding[] {
  try {
    return finishChange(directory) ? [mended('a change that was cut off is finished')] : [];
  } catch (error) {
    // A metadata.json that is broken comes next; a journal without one to enter it in waits for it.
    if (!(error instanceof MintError) || error.code !== 'key-store') throw error;
    return /journal/.test(error.message) ? [setAside(directory, journalFile, error.message)] : [];
  }
}

/** One that is broken is put aside and begun anew; one of a later version stays as it is. */
function readableMetadata(directory: string): Finding[] {
  try {
    readMetadata(directory);
    return [];
  } catch (error) {
    const isBroken = error instanceof MintError && error.code === 'key-store';
    if (!isBroken || /is of version/.test(error.message)) throw error;
    const aside = setAside(directory, metadataFile, error.message);
    finishChange(directory);
    return [aside];
  }
}

function setAside(directory: string, file: string, why: string): Finding {
  const aside = `${file.replace(/^\./, '')}.broken-${new Date().toISOString().replaceAll(/[:.]/g, '-')}`;
  renameSync(join(directory, file), join(directory, aside));
  return mended(`${why}; it is put aside as ${aside}`);
}

async function inspectKey(directory: string, key: KeyRecord, locked: Locked): Promise<Finding[]> {
  const path = keyFiles(directory, key.name).privateKey;
  const blob = await publicHalf(directory, key.name);
  if (blob instanceof MintError) {
    const hint =
      blob.code === 'key-store'
        ? `put the file back from a backup, or \`mint-ssh keys delete ${key.name}\``
        : (blob.hint ?? 'put the file back from a backup');
    return [{ what: `${quoted(path)}: ${blob.message}`, remedy: { hint } }];
  }
  // An old format with a passphrase keeps its public half to itself.
  if (blob === undefined || blobInFile(directory, key.name)?.equals(blob) === true) return [];
  const publicKey = publicLine(blob, key.name);
  locked(() => {
    const entry = rawEntry(directory, key.name);
    if (entry !== undefined) makeChange(directory, { name: key.name, entry, publicKey });
  });
  return [mended(`${quoted(`${path}.pub`)} was not there, or of another key`)];
}

/** Files that look like keys and that metadata.json does not name. */
function strangers(directory: string, keys: readonly KeyRecord[]): string[] {
  const known = new Set(keys.map(({ name }) => name));
  const names = readdirSync(directory).map((file) => file.replace(/\.pub$/, ''));
  return [...new Set(names)].filter((name) => isKeyName(name) && !known.has(name));
}

async function adopt(directory: string, name: string, locked: Locked): Promise<Finding> {
  const path = keyFiles(directory, name).privateKey;
  const found = await publicHalf(directory, name);
  const blob = found ?? blobInFile(directory, name);
  if (blob === undefined || blob instanceof MintError) {
    const why = blob?.message ?? 'it wants a passphrase, and there is no .pub beside it';
    const what = `metadata.json does not name ${quoted(path)}, which cannot be taken in: ${why}`;
    return { what, remedy: { hint: `import it under its profile, or move it away` } };
  }
  const createdAt = lstatSync(path)
    .mtime.toISOString()
    .replace(/\.\d+Z$/, 'Z');
  const made = { profile: name, region: undefined, awsKeyName: undefined, createdAt, instances: [] };
  locked(() => {
    if (rawEntry(directory, name) !== undefined) return;
    const entry = newEntry({ ...made, type: typeOfBlob(blob) });
    makeChange(directory, { name, entry, publicKey: publicLine(blob, name) });
  });
  return mended(`metadata.json did not name the key ${quoted(path)}`);
}

function rawEntry(directory: string, name: string) {
  return readMetadata(directory).entries[name];
}

/** On Windows every file has the same ones. */
const hasModes = process.getuid !== undefined;

function isOurs({ uid }: Stats): boolean {
  return process.getuid === undefined || uid === process.getuid();
}
