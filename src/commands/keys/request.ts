/** The request that every subcommand of `mint-ssh keys` gets, and functions that several of them use. */
import { join } from 'node:path';
import type { GlobalOptions, Invocation } from '../../cli/command.ts';
import { hint, printJson, say } from '../../cli/terminal.ts';
import { MintError } from '../../errors.ts';
import { materialOf } from '../../keys/store/key-material.ts';
import { addKey, checkFree, type KeyRecord, listKeys, lookUp } from '../../keys/store/key-store.ts';
import { type InstanceUse, type KeyDetails, keyJson } from '../../keys/store/key-table.ts';
import { blobOfLine, generateKey } from '../../keys/store/key-type.ts';
import type { Machine } from '../../keys/store/own-state.ts';
import { awsKeyName, profileName } from '../../keys/store/profile-name.ts';
import { keyFiles, readPublicKey } from '../../keys/store/store-files.ts';
import { type AuditEntry, appendAudit } from '../../platform/audit.ts';
import { quoted } from '../../platform/files.ts';
import { acquireLock, type Lock } from '../../platform/lock.ts';
import type { Paths } from '../../platform/paths.ts';
import type { Settings } from '../../settings/settings.ts';
import { parseHostKey } from '../../ssh/hostkey.ts';

export interface KeysRequest {
  /** The subcommand: `create`, `rotate` … */
  readonly word: string;
  readonly directory: string;
  /** Empty for subcommands without one. */
  readonly profile: string;
  /** As it was typed; empty for those that take none. */
  readonly vm: string;
  readonly values: Invocation['values'];
  readonly paths: Paths;
  readonly globals: GlobalOptions;
  readonly settings: () => Settings;
  /** The region of the key's name in EC2; undefined if none is set. Reads the settings. */
  readonly region: () => string | undefined;
}

/** Makes a key and keeps it; the place is that of the request. */
async function makeKey({ directory, profile, region }: KeysRequest, type: string): Promise<KeyRecord> {
  const name = profileName(profile);
  const place = { profile, region: region() };
  awsKeyName(name, place.region);
  checkFree(directory, profile);
  return addKey(directory, place, await materialOf(await generateKey(type), name));
}

/** Makes the key of a profile if it does not exist. */
export async function getOrMake(request: KeysRequest): Promise<void> {
  const { directory, profile } = request;
  if (lookUp(listKeys(directory), profile) !== undefined) return;
  const { name } = await makeKey(request, 'ed25519');
  noteKey(request, {
    event: 'key-created',
    key: name,
    keyFingerprint: detailsOf(directory, { name }).fingerprint,
  });
  say(`made the key of ${JSON.stringify(name)} in ${quoted(directory)}`);
}

/** The key of "default" is made when it is first needed. */
export async function makeDefault(request: KeysRequest): Promise<void> {
  if (request.profile.toLowerCase() === 'default') await getOrMake(request);
}

/**
 * Prints a new key, as JSON or as text.
 * @returns the exit status
 */
export function reportMade({ directory, values }: KeysRequest, key: KeyRecord): number {
  const details = detailsOf(directory, key);
  if (values['json'] === true) {
    printJson(keyJson(key, usesOfRecord(key), details));
    return 0;
  }
  say(`${key.name} is ${details.fingerprint} (${key.type}), in ${quoted(directory)}`);
  hint(
    `\`mint-ssh keys public ${key.name}\` prints the line for authorized_keys; \`mint-ssh keys attach ${key.name} VM\` adds it on a VM`,
  );
  return 0;
}

/** The VMs that accept a key, as far as its own record knows them. */
export function usesOfRecord(key: KeyRecord): InstanceUse[] {
  return key.machines.map((machine) => ({
    ...machine,
    state: undefined,
    stateAge: undefined,
    waits: waiting(machine.accepts, key),
  }));
}

/** What a rotation has still to do on a machine that accepts these keys. */
export function waiting(
  accepts: Machine['accepts'],
  { rotation, hasNext }: Pick<KeyRecord, 'rotation' | 'hasNext'>,
): InstanceUse['waits'] {
  if (rotation === undefined) return hasNext ? 'new key' : undefined;
  return accepts === undefined ? undefined : accepts === 'old' ? 'new key' : 'end of the old key';
}

/** @throws MintError `key-store` */
export function detailsOf(directory: string, { name }: Pick<KeyRecord, 'name'>): KeyDetails {
  const publicKey = readPublicKey(directory, name);
  const path = keyFiles(directory, name).privateKey;
  return { path, publicKey, fingerprint: parseHostKey(blobOf(publicKey, name)).fingerprint };
}

/**
 * The blob in a line of the store.
 * @throws MintError `key-store`
 */
export function blobOf(line: string, name: string): Buffer {
  const blob = blobOfLine(line);
  if (blob !== undefined) return blob;
  throw new MintError('key-store', `the public key of ${name} is damaged`, {
    hint: '`mint-ssh keys doctor` restores it from the private key',
  });
}

/** How long a command waits for a rotation to end. */
const turnLimitMs = 120_000;

/**
 * Runs `action` while no other command rotates a key of the store or takes one from a VM: the agent may be finishing a
 * rotation.
 * @throws MintError `io-failed` if the other command takes longer than two minutes
 */
export async function withTurn<T>(directory: string, action: () => Promise<T>): Promise<T> {
  const lock = waitForTurn(join(directory, '.rotation.lock'));
  try {
    return await action();
  } finally {
    lock.release();
  }
}

function waitForTurn(path: string): Lock {
  const lock = acquireLock(path, { waitMilliseconds: 0 });
  if (lock !== undefined) return lock;
  say('another command is rotating a key: waiting for it');
  const later = acquireLock(path, { waitMilliseconds: turnLimitMs });
  if (later !== undefined) return later;
  throw new MintError('io-failed', 'another command is rotating a key', {
    hint: 'wait for it to end, then run again',
  });
}

/** @returns the error `usage` with a pointer to the help of `keys` */
export function misused(message: string): MintError {
  return new MintError('usage', message, { hint: 'usage: mint-ssh keys --help' });
}

/** Records in audit.log what was done with a managed key. */
export function noteKey(
  { paths, profile, vm, word }: Pick<KeysRequest, 'paths' | 'word' | 'profile' | 'vm'>,
  entry: Pick<AuditEntry, 'event' | 'keyFingerprint'> & Partial<AuditEntry> & { readonly key: string },
): void {
  const command = ['keys', word, ...[profile, vm].filter((given) => given !== '')].join(' ');
  appendAudit(paths, { command, vm: undefined, ...entry });
}
