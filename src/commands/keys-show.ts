/** `keys list`, `show` and `public`: what is known of the kept keys. Nothing here asks AWS, or a VM. */
import { hint, print, say } from '../cli/terminal.ts';
import { MintError } from '../errors.ts';
import { findKey, listKeys, readPrivateKey, readPublicKey } from '../keys/store/key-store.ts';
import {
  type InstanceUse,
  managedKeyJson,
  managedKeyTable,
  managedKeyText,
} from '../keys/store/key-table.ts';
import type { KeyRecord } from '../keys/store/metadata.ts';
import { thisCaller } from '../platform/caller.ts';
import { quoted } from '../platform/files.ts';
import { listCached } from '../vms/list-vms.ts';
import { VmCache } from '../vms/vm-cache.ts';
import { instancesOf, plainName } from './keys-logins.ts';
import { detailsOf, type KeysRequest, makeDefault, printKey } from './keys-request.ts';

export async function listAll({ directory, values }: KeysRequest): Promise<number> {
  const keys = listKeys(directory);
  if (values['json'] === true) print(JSON.stringify(keys.map(managedKeyJson), undefined, 2));
  else if (keys.length > 0) print(managedKeyTable(keys));
  else say(`there are no keys in ${quoted(directory)}: \`mint-ssh keys create PROFILE\` makes one`);
  for (const { name, rotation } of keys) {
    if (rotation === undefined) continue;
    say(`note: the rotation of ${name} is not finished: \`mint-ssh keys rotate ${name}\` goes on with it`);
  }
  const problems = keys.flatMap(({ name }) => problemOf(directory, name) ?? []);
  for (const { message, code } of problems) say(`error: ${message} (${code})`);
  if (problems.length > 0) hint('`mint-ssh keys doctor` mends what can be mended');
  return problems.length > 0 ? 1 : 0;
}

export async function showKey(request: KeysRequest): Promise<number> {
  const { directory, profile, values } = request;
  await makeDefault(request);
  const key = findKey(directory, profile);
  readPrivateKey(directory, key.name);
  const details = detailsOf(directory, key);
  const uses = usesOf(request, key);
  if (values['json'] === true) printKey(key, details, uses);
  else print(managedKeyText(key, details, uses));
  return 0;
}

export async function printPublic(request: KeysRequest): Promise<number> {
  const { directory, profile } = request;
  await makeDefault(request);
  print(detailsOf(directory, findKey(directory, profile)).publicKey);
  return 0;
}

/** The instances with what EC2 said of each last, and what a rotation has still to do there. */
function usesOf(request: KeysRequest, key: KeyRecord): InstanceUse[] {
  const { paths } = request;
  const caller = thisCaller();
  const settings = request.settings();
  const { vms } = listCached(new VmCache(paths), { caller, settings });
  const lastUsed = new Map(Object.entries(key.lastUsed).map(([vm, at]) => [plainName(vm), at]));
  return instancesOf(request, key).map((vm) => ({
    name: vm,
    state: vms.get(vm)?.state,
    lastUsed: lastUsed.get(vm),
    waits: waiting(key, vm),
  }));
}

function waiting({ rotation }: KeyRecord, vm: string): InstanceUse['waits'] {
  if (rotation?.stage === 'adding') return 'new key';
  const all = rotation?.instances ?? {};
  const letsIn = Object.hasOwn(all, vm) ? all[vm] : undefined;
  return letsIn === undefined ? undefined : letsIn === 'old' ? 'new key' : 'end of the old key';
}

function problemOf(directory: string, name: string): MintError | undefined {
  try {
    readPrivateKey(directory, name);
    readPublicKey(directory, name);
    return undefined;
  } catch (error) {
    if (error instanceof MintError) return error;
    throw error;
  }
}
