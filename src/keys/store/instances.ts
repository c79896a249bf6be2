/** Which instances let a key in, as metadata.json says. */
import { changeEntry, makeChange, readMetadata } from './journal.ts';
import { withStore } from './key-store.ts';
import type { JsonObject, KeyRecord } from './metadata.ts';
import { rotationEntry } from './rotation-state.ts';

/** Enters an instance that lets the key in; nothing happens where it is known already. */
export function addInstance(directory: string, name: string, vm: string): void {
  change(directory, name, (entry, { instances }) => {
    if (instances.some((one) => isSame(one, vm))) return;
    changeEntry(directory, name, { ...entry, instances: [...instances, vm] });
  });
}

/** Forgets an instance, also where a rotation waits for it; the last one takes the old key along. */
export function forgetInstance(directory: string, name: string, vm: string): void {
  change(directory, name, (entry, { instances, lastUsed, rotation }) => {
    const after: Record<string, unknown> = {
      ...entry,
      instances: instances.filter((other) => !isSame(other, vm)),
      last_used: Object.fromEntries(Object.entries(lastUsed).filter(([other]) => !isSame(other, vm))),
    };
    if (rotation === undefined) return changeEntry(directory, name, after);
    const waiting = Object.entries(rotation.instances).filter(([other]) => !isSame(other, vm));
    const isLast = rotation.stage === 'removing' && waiting.length === 0 && rotation.regions.length === 0;
    if (isLast) delete after['rotation'];
    else after['rotation'] = rotationEntry({ ...rotation, instances: Object.fromEntries(waiting) });
    makeChange(directory, { name, entry: after, ...(isLast ? { old: null } : {}) });
  });
}

/** Enters the key's name in a further region of EC2. */
export function addAwsName(directory: string, name: string, region: string, awsName: string): void {
  change(directory, name, (entry, { region: own, awsKeyName, awsKeyNames }) => {
    if (own === region && awsKeyName === awsName) return;
    const isFirst = awsKeyName === undefined;
    const names = { aws_key_names: { ...awsKeyNames, [region]: awsName } };
    changeEntry(directory, name, { ...entry, ...(isFirst ? { region, aws_key_name: awsName } : names) });
  });
}

/** Other programs write a VM's name as the person did. */
function isSame(one: string, other: string): boolean {
  return one.toLowerCase() === other.toLowerCase();
}

function change(
  directory: string,
  name: string,
  action: (entry: JsonObject, record: KeyRecord) => void,
): void {
  withStore(directory, () => {
    const { keys, entries } = readMetadata(directory);
    const record = keys.find((key) => key.name === name);
    const entry = entries[name];
    if (record !== undefined && entry !== undefined) action(entry, record);
  });
}
