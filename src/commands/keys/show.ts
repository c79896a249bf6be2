/** `keys list`, `show` and `public`: prints what the store knows about the keys. Asks neither AWS nor a VM. */

import { hint, print, printJson, say } from '../../cli/terminal.ts';
import { MintError } from '../../errors.ts';
import { findKey, type KeyRecord, readStore } from '../../keys/store/key-store.ts';
import {
  type InstanceUse,
  type KeyDetails,
  keyJson,
  managedKeyTable,
  managedKeyText,
  unusableJson,
} from '../../keys/store/key-table.ts';
import { shownName, type UnusableEntry } from '../../keys/store/metadata.ts';
import { machineOf } from '../../keys/store/rotation.ts';
import { readPrivateKey } from '../../keys/store/store-files.ts';
import { thisCaller } from '../../platform/caller.ts';
import { quoted } from '../../platform/files.ts';
import { listCached } from '../../vms/list-vms.ts';
import { VmCache } from '../../vms/vm-cache.ts';
import { span } from '../vm-rows.ts';
import { usesKey } from './logins.ts';
import { plainName } from './machines.ts';
import { detailsOf, type KeysRequest, makeDefault, usesOfRecord, waiting } from './request.ts';

/** Exit status of the worst problem: 3 where a file is open to others. */
export async function listAll({ directory, values }: KeysRequest): Promise<number> {
  const { keys, unusable } = readKeys(directory);
  const records = keys.map(({ record }) => record);
  if (values['json'] === true) {
    const listed = keys.map(({ record, found }) =>
      found instanceof MintError
        ? keyJson(record, usesOfRecord(record), undefined, found.message)
        : keyJson(record, usesOfRecord(record), found),
    );
    printJson([...listed, ...unusable.map(unusableJson)]);
  } else if (keys.length + unusable.length > 0) print(managedKeyTable(records, unusable));
  else say(`no keys in ${quoted(directory)}; to make one: mint-ssh keys create PROFILE`);
  for (const { name, why } of unusable)
    say(`note: ${JSON.stringify(shownName(name))} is left as it is: ${why}`);
  for (const { name, rotation, hasNext } of records) {
    if (rotation === undefined && !hasNext) continue;
    say(`note: the rotation of ${name} is not finished: \`mint-ssh keys rotate ${name}\` continues it`);
  }
  const problems = keys.flatMap(({ found }) => (found instanceof MintError ? found : []));
  for (const { message, code } of problems) say(`error: ${message} (${code})`);
  if (problems.length > 0) hint('`mint-ssh keys doctor` repairs what can be repaired');
  return Math.max(0, ...problems.map(({ exitStatus }) => exitStatus));
}

interface ListedKey {
  readonly record: KeyRecord;
  /** What its files hold, or what is wrong with them. */
  readonly found: KeyDetails | MintError;
}

/** Reads the store, then the files of each key. A key that another process has deleted meanwhile is left out. */
function readKeys(directory: string): {
  readonly keys: readonly ListedKey[];
  readonly unusable: readonly UnusableEntry[];
} {
  const { keys, unusable } = readStore(directory);
  const read = keys.map((record): ListedKey => ({ record, found: filesOf(directory, record) }));
  if (!read.some(({ found }) => found instanceof MintError)) return { keys: read, unusable };
  const left = new Set(readStore(directory).keys.map(({ name }) => name));
  return { keys: read.filter(({ record }) => left.has(record.name)), unusable };
}

function filesOf(directory: string, record: KeyRecord): KeyDetails | MintError {
  try {
    readPrivateKey(directory, record.name);
    return detailsOf(directory, record);
  } catch (error) {
    if (error instanceof MintError) return error;
    throw error;
  }
}

/**
 * `keys show`: prints one key and the machines that accept it.
 * @returns the exit status
 * @throws MintError `key-not-found`, `key-store`, `unsafe-permissions`
 */
export async function showKey(request: KeysRequest): Promise<number> {
  const { directory, profile, values } = request;
  await makeDefault(request);
  const key = findKey(directory, profile);
  readPrivateKey(directory, key.name);
  const details = detailsOf(directory, key);
  const uses = usesOf(request, key);
  if (values['json'] === true) printJson(keyJson(key, uses, details));
  else print(managedKeyText(key, details, uses));
  return 0;
}

/**
 * `keys public`: prints the line for authorized_keys.
 * @returns the exit status
 * @throws MintError `key-not-found`, `key-store`
 */
export async function printPublic(request: KeysRequest): Promise<number> {
  const { directory, profile } = request;
  await makeDefault(request);
  print(detailsOf(directory, findKey(directory, profile)).publicKey);
  return 0;
}

/** The machines with what EC2 said of each last, and what a rotation has still to do there. */
function usesOf(request: KeysRequest, key: KeyRecord): InstanceUse[] {
  const { paths } = request;
  const caller = thisCaller();
  const settings = request.settings();
  const { vms } = listCached(new VmCache(paths), { caller, settings });
  const byId = new Map([...vms.values()].map((vm) => [vm.instance, vm]));
  const configured = settings.vms
    .map((name) => settings.named(name))
    .filter(({ access }) => usesKey(access, key))
    .filter((vm) => machineOf(key.machines, vm) === undefined)
    .map(({ name, instance, user, region }) => ({
      ...{ name, instance, user, region },
      ...{ lastUsed: undefined, proved: undefined, accepts: undefined },
    }));
  return [...key.machines, ...configured].map(({ accepts, ...machine }) => {
    const { name, instance } = machine;
    const vm = instance === undefined ? vms.get(plainName(name)) : byId.get(instance);
    const stateAge = vm && span(Date.now() - vm.seenAt);
    return { ...machine, state: vm?.state, stateAge, waits: waiting(accepts, key) };
  });
}
