/**
 * `keys migrate`: moves the keys that CloudWorkstation and Prism left in ~/.ssh into the store. An original is removed only
 * if a login with the stored key has succeeded on every known instance. The next run continues an interrupted one.
 */
import { lstatSync, readdirSync, readFileSync, unlinkSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { printable, say } from '../../cli/terminal.ts';
import { MintError } from '../../errors.ts';
import { isFailed } from '../../keys/key-change.ts';
import { type OlderKey, olderKeys } from '../../keys/older-keys.ts';
import { invalid, parseKeyFile } from '../../keys/store/key-file.ts';
import { materialOf } from '../../keys/store/key-material.ts';
import { addKey, findKey, type KeyRecord, listKeys, lookUp } from '../../keys/store/key-store.ts';
import { blobOfLine, publicBlob } from '../../keys/store/key-type.ts';
import { profileName } from '../../keys/store/profile-name.ts';
import { addEc2Name, addMachines } from '../../keys/store/rotation.ts';
import { publicBlobOf, timestamp } from '../../keys/store/store-files.ts';
import { ioFailed, quoted, readPrivateFile } from '../../platform/files.ts';
import { homeDirectory } from '../../platform/paths.ts';
import { parseHostKey } from '../../ssh/hostkey.ts';
import { keptKey, onEach } from './logins.ts';
import { findMachines } from './machines.ts';
import { openWithPassphrase } from './passphrase.ts';
import { type KeysRequest, misused, noteKey } from './request.ts';

const maxBytes = 65_536;

/** @returns 1 if an original stays that should have been removed, else 0 */
export async function migrateKeys(request: KeysRequest): Promise<number> {
  const { values } = request;
  if (values['force'] === true && values['keep-originals'] === true) {
    throw misused('--force removes the originals, and --keep-originals keeps them');
  }
  const from = resolve((values['from'] as string | undefined) || join(homeDirectory(), '.ssh'));
  const found = olderKeys(filesIn(from));
  if (found.length === 0) say(`no cws-* or prism-* keys in ${quoted(from)}`);
  let isWhole = true;
  for (const older of found) {
    try {
      const isDone =
        values['dry-run'] === true ? tellPlan(request, from, older) : await migrate(request, from, older);
      if (!isDone) isWhole = false;
    } catch (error) {
      if (!(error instanceof MintError)) throw error;
      isWhole = false;
      say(`not migrated: ${printable(older.name)}: ${error.message} (${error.code})`);
      if (error.hint !== undefined) say(`hint: ${error.hint}`);
    }
  }
  return isWhole ? 0 : 1;
}

function filesIn(directory: string): string[] {
  try {
    const entries = readdirSync(directory, { withFileTypes: true });
    return entries
      .filter((entry) => !entry.isDirectory())
      .map(({ name }) => name)
      .sort();
  } catch (error) {
    throw ioFailed('look into', directory, error);
  }
}

/** Reads what needs no passphrase, and writes nothing. */
function tellPlan({ directory }: KeysRequest, from: string, older: OlderKey): boolean {
  const { profile, region } = older;
  const name = profileName(profile);
  const blobs = older.privateFiles.flatMap((file) => parseKeyFile(read(from, file)).publicBlob ?? []);
  const kept = lookUp(listKeys(directory), name);
  if (kept !== undefined) refuseOther(directory, kept, blobs);
  if (older.privateFiles.length === 0) {
    say(`would leave ${printable(older.name)}: no private key beside its .pub`);
    return true;
  }
  const where = region === undefined ? '' : `, region ${region}`;
  const what = kept === undefined ? 'would take in' : 'has it already, and would try';
  say(`${name}${where}: ${what} ${older.privateFiles.map((file) => quoted(join(from, file))).join(', ')}`);
  return true;
}

/** @returns whether nothing is left to do for it */
async function migrate(request: KeysRequest, from: string, older: OlderKey): Promise<boolean> {
  const { directory, values } = request;
  const name = profileName(older.profile);
  const kept = lookUp(listKeys(directory), name);
  if (older.privateFiles.length === 0) return removeLonelyHalf(request, from, older, kept);

  const opened = await openAll(from, older);
  if (kept !== undefined) refuseOther(directory, kept, [opened.key.blob]);
  const record = kept ?? (await takeIn(request, from, older, opened));
  if (older.region !== undefined) addEc2Name(directory, record.name, older.region, older.name);
  const { fingerprint } = parseHostKey(opened.key.blob);
  if (kept === undefined) noteKey(request, { event: 'key-migrated', key: name, keyFingerprint: fingerprint });

  const { accepting, doubts } = await tryEverywhere(request, record.name, opened.key);
  for (const doubt of doubts) say(`${name}: ${printable(doubt)}`);
  const files = [...older.publicFiles, ...older.privateFiles];
  const isProved = accepting.length > 0 && doubts.length === 0;
  const reference = referenceTo(files);
  const stays =
    values['keep-originals'] === true
      ? 'as you asked'
      : !isProved && values['force'] !== true
        ? 'until a login has proved the key on each instance; --force removes it all the same'
        : reference;
  if (stays !== undefined) {
    say(`${name}: is in the store; the original in ${quoted(from)} stays ${stays}`);
    return values['keep-originals'] === true;
  }
  for (const file of files) remove(join(from, file));
  const proof = isProved
    ? `accepted by ${printable(accepting.join(', '))}`
    : 'not proved by a login everywhere (--force)';
  say(`${name}: moved into the store (${fingerprint}); ${proof}`);
  return true;
}

interface Opened {
  readonly key: ReturnType<typeof keptKey>;
  readonly passphrase: string | undefined;
}

/** Every file of it holds the same key. */
async function openAll(from: string, { privateFiles, publicFiles }: OlderKey): Promise<Opened> {
  let opened: Opened | undefined;
  for (const file of privateFiles) {
    const { key, passphrase } = await openWithPassphrase(read(from, file), quoted(join(from, file)));
    if (opened !== undefined && !opened.key.blob.equals(publicBlob(key))) {
      throw invalid(
        `${privateFiles.map(quoted).join(' and ')} are not the same key`,
        'move one of them away',
      );
    }
    opened ??= { key: keptKey(key, ''), passphrase };
  }
  if (opened === undefined) throw invalid('no private key found');
  for (const file of publicFiles) {
    const blob = blobOfLine(read(from, file, false).toString('latin1').trim());
    if (blob?.equals(opened.key.blob) !== true) {
      throw invalid(`${quoted(join(from, file))} is not the public half of it`, 'move that file away');
    }
  }
  return opened;
}

async function takeIn(
  { directory, region }: KeysRequest,
  from: string,
  older: OlderKey,
  { key, passphrase }: Opened,
): Promise<KeyRecord> {
  const { profile, name: awsKeyName, privateFiles } = older;
  const createdAt = timestamp(lstatSync(join(from, privateFiles[0] ?? '')).mtime);
  const place = { profile, region: older.region ?? region(), awsKeyName, createdAt };
  const material = await materialOf(key.privateKey, profileName(profile), passphrase);
  return addKey(directory, place, material);
}

/** Logs in with the key on every machine that is known or that EC2 shows. */
async function tryEverywhere(
  request: KeysRequest,
  name: string,
  key: Opened['key'],
): Promise<{ readonly accepting: readonly string[]; readonly doubts: readonly string[] }> {
  const { directory } = request;
  const record = findKey(directory, name);
  const { targets, unasked } = await findMachines(request, record);
  const proved = parseHostKey(key.blob).fingerprint;
  const outcomes = await onEach(request, targets, async (sessions, { instance, name: vm, user }) => {
    if (!(await sessions.proves(key))) return { failed: sessions.said };
    addMachines(directory, name, [{ instance, name: vm, user, proved }]);
    return 'done';
  });
  const accepting: string[] = [];
  const doubts = [...unasked].map(([region, reason]) => `EC2 in ${region} could not be asked: ${reason}`);
  if (record.ec2Names.length === 0) doubts.push('no region is known in which EC2 could be asked');
  if (targets.length === 0) doubts.push('no instance of it is known, so no login was tried');
  for (const target of targets) {
    const outcome = outcomes.get(target);
    if (outcome !== undefined && !isFailed(outcome)) accepting.push(target.name);
    else doubts.push(`${target.name} did not accept it: ${outcome?.failed ?? 'it was not tried'}`);
  }
  return { accepting, doubts };
}

/** What a run left that was killed while it removed the originals; any other .pub is not ours to remove. */
function removeLonelyHalf(
  { directory }: KeysRequest,
  from: string,
  { name, publicFiles }: OlderKey,
  kept: KeyRecord | undefined,
): boolean {
  const ours = kept === undefined ? undefined : publicBlobOf(directory, kept.name);
  for (const file of publicFiles) {
    const blob = blobOfLine(read(from, file, false).toString('latin1').trim());
    if (ours === undefined || blob?.equals(ours) !== true) {
      say(`${printable(name)}: no private key beside its .pub, which stays`);
      return true;
    }
    remove(join(from, file));
  }
  return true;
}

/** @throws MintError `key-exists` if the profile has another key: two are never merged */
function refuseOther(directory: string, { name }: KeyRecord, blobs: readonly Buffer[]): void {
  const ours = publicBlobOf(directory, name);
  const other = blobs.find((blob) => ours?.equals(blob) !== true);
  if (other === undefined) return;
  const [theirs, own] = [other, ours].map((blob) => blob && parseHostKey(blob).fingerprint);
  throw new MintError('key-exists', `${name} has another key already: ${own} here, ${theirs} there`, {
    hint: 'import it under another name: mint-ssh keys import PROFILE --key-file FILE',
  });
}

/** Removing a file that ~/.ssh/config names would break logins that work. */
function referenceTo(files: readonly string[]): string | undefined {
  const config = join(homeDirectory(), '.ssh', 'config');
  let text: string;
  try {
    text = readFileSync(config, 'latin1');
  } catch {
    return undefined;
  }
  const lines = text.split('\n').filter((line) => /^\s*IdentityFile[\s=]/i.test(line));
  const isNamed = lines.some((line) => files.some((file) => line.split(/[\s="/]+/).includes(file)));
  return isNamed ? `as long as ${quoted(config)} names it` : undefined;
}

function read(from: string, file: string, secret = true): Buffer {
  const path = join(from, file);
  const bytes = readPrivateFile(path, { maxBytes, tooLarge: 'key-invalid', secret });
  if (bytes !== undefined) return bytes;
  throw new MintError('io-failed', `${quoted(path)} is gone`, { hint: 'run it again' });
}

function remove(path: string): void {
  try {
    unlinkSync(path);
  } catch (error) {
    throw ioFailed('remove', path, error);
  }
}
