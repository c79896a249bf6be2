/**
 * Converts the store of an earlier mint-ssh: `.journal` (an interrupted change), `<name>.next` and `<name>.old` beside the
 * keys, and our fields in metadata.json. If it is killed, the next run repeats it: each step writes the new form before
 * it removes the old one.
 */

import { existsSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { MintError } from '../../errors.ts';
import { readPrivateFile } from '../../platform/files.ts';
import { instancePattern } from '../../settings/vm-name.ts';
import { isObject, type JsonObject } from './metadata.ts';
import type { Ec2Name, KeyState, Machine } from './own-state.ts';
import { isKeyName } from './profile-name.ts';
import {
  ensureOwnDirectory,
  type KeyPair,
  keyFiles,
  metadataFile,
  type RotationKey,
  readMetadata,
  readState,
  removePair,
  writeMetadata,
  writePair,
  writeState,
} from './store-files.ts';

export const olderJournal = '.journal';
const maxBytes = 1_000_000;
const ourFields = ['aws_key_names', 'last_used', 'rotation'] as const;

/**
 * To be called only under the store's lock.
 *
 * @throws MintError `key-store` for a damaged journal
 */
export function migrateOlderStore(directory: string): void {
  if (existsSync(join(directory, olderJournal))) finishJournal(directory);
  if (!existsSync(join(directory, metadataFile))) return;
  const { entries } = readMetadata(directory);
  for (const [name, entry] of Object.entries(entries)) {
    if (!isKeyName(name) || !isObject(entry) || !ourFields.some((field) => field in entry)) continue;
    migrateKey(directory, name, entry);
  }
}

function migrateKey(directory: string, name: string, entry: JsonObject): void {
  for (const role of ['next', 'old'] as const) {
    const pair = readOlderPair(directory, name, role);
    if (pair === undefined) continue;
    ensureOwnDirectory(directory);
    writePair(keyFiles(directory, name, role), pair);
  }
  const state = readState(directory);
  if (!Object.hasOwn(state, name)) writeState(directory, { ...state, [name]: stateOf(entry) });
  const rest = Object.fromEntries(
    Object.entries(entry).filter(([field]) => !ourFields.some((ours) => ours === field)),
  );
  writeMetadata(directory, readMetadata(directory), name, rest);
  for (const role of ['next', 'old'] as const) removePair(olderFiles(directory, name, role));
}

function stateOf(entry: JsonObject): KeyState {
  const { rotation, last_used: lastUsed, aws_key_names: names, instances } = entry;
  const { stage, started_at: startedAt, instances: waiting, aws_regions: regions } = objectOf(rotation);
  const isOpen = stage === 'removing';
  const known = [
    ...(Array.isArray(instances) ? instances : []),
    ...Object.keys(objectOf(lastUsed)),
    ...(isOpen ? Object.keys(objectOf(waiting)) : []),
  ].filter((one): one is string => typeof one === 'string');
  const machines = [...new Map(known.map((one) => [one.toLowerCase(), one])).values()].map((one): Machine => {
    const accepts = isOpen ? textOf(waiting, one) : undefined;
    return {
      instance: instancePattern.test(one) ? one : undefined,
      name: one,
      user: undefined,
      region: undefined,
      lastUsed: textOf(lastUsed, one),
      proved: undefined,
      accepts: accepts === 'old' || accepts === 'both' ? accepts : undefined,
    };
  });
  const ec2Names = Object.entries(objectOf(names)).flatMap(([region, name]): Ec2Name[] =>
    typeof name === 'string' ? [{ region, name }] : [],
  );
  const open = {
    startedAt: typeof startedAt === 'string' ? startedAt : '',
    regions: Array.isArray(regions) ? regions.filter((one) => typeof one === 'string') : [],
    unasked: [],
    isUnproved: false,
  };
  return { machines, ec2Names, rotation: isOpen ? open : undefined };
}

/** Finishes a change: the journal had the whole change before it was made. */
function finishJournal(directory: string): void {
  const path = join(directory, olderJournal);
  const bytes = readPrivateFile(path, { maxBytes, secret: true });
  if (bytes === undefined) return;
  const found = parseJson(bytes.toString());
  const { name, entry, private_key: privateKey, public_key: publicKey } = found;
  if (typeof name !== 'string' || !isKeyName(name) || !(entry === null || isObject(entry))) throw damaged();
  const pairs = { next: pairOf(found['next']), old: pairOf(found['old']) };
  const files = keyFiles(directory, name);
  if (entry === null) {
    for (const each of [
      files,
      ...(['next', 'old'] as const).map((role) => olderFiles(directory, name, role)),
    ])
      removePair(each);
  } else {
    const pair = pairOf({ private_key: privateKey, public_key: publicKey });
    if (pair !== undefined) writePair(files, pair);
    for (const role of ['next', 'old'] as const) {
      const other = pairs[role];
      if (other === undefined) removePair(olderFiles(directory, name, role));
      else writePair(olderFiles(directory, name, role), other);
    }
  }
  writeMetadata(directory, readMetadata(directory), name, entry ?? undefined);
  unlinkSync(path);
}

function pairOf(value: unknown): KeyPair | undefined {
  const { private_key: privateKey, public_key: publicKey } = objectOf(value);
  if (privateKey === undefined && publicKey === undefined) return undefined;
  if (typeof privateKey !== 'string' || typeof publicKey !== 'string') throw damaged();
  return { privateKey: Buffer.from(privateKey, 'base64'), publicKey };
}

function readOlderPair(directory: string, name: string, role: RotationKey): KeyPair | undefined {
  const { privateKey, publicKey } = olderFiles(directory, name, role);
  const secret = readPrivateFile(privateKey, { maxBytes, secret: true });
  const line = readPrivateFile(publicKey, { maxBytes });
  return secret && line && { privateKey: secret, publicKey: line.toString() };
}

function olderFiles(directory: string, name: string, role: RotationKey) {
  const path = join(directory, `${name}.${role}`);
  return { privateKey: path, publicKey: `${path}.pub` };
}

function textOf(value: unknown, field: string): string | undefined {
  const all = objectOf(value);
  const found = Object.hasOwn(all, field) ? all[field] : undefined;
  return typeof found === 'string' ? found : undefined;
}

function objectOf(value: unknown): JsonObject {
  return isObject(value) ? value : {};
}

function parseJson(text: string): JsonObject {
  try {
    return objectOf(JSON.parse(text));
  } catch (cause) {
    throw damaged(cause);
  }
}

function damaged(cause?: unknown): MintError {
  return new MintError('key-store', 'the journal of an earlier mint-ssh is damaged', {
    hint: '`mint-ssh keys doctor` renames it',
    cause,
  });
}
