/**
 * A rotation as the store sees it: three changes of several files (`beginRotation`, `switchKeys`, `endRotation`),
 * each through the journal, and notes between them. Whenever a process is killed, the key that `keyForVm` gives for
 * an instance is one that the instance lets in.
 */
import { MintError } from '../../errors.ts';
import { changeEntry, makeChange, readMetadata } from './journal.ts';
import { type KeyMaterial, readPrivateKey, readPublicKey, timestamp, withStore } from './key-store.ts';
import { blobOfLine, typeOfBlob } from './key-type.ts';
import type { JsonObject, KeyRecord } from './metadata.ts';
import { type LetsIn, type Rotation, rotationEntry } from './rotation-state.ts';

/** Puts the new key beside the one in use. `regions`: where EC2 is to be given it, too. */
export function beginRotation(
  directory: string,
  name: string,
  { privateKey, publicKey }: KeyMaterial,
  regions: readonly string[],
): void {
  change(directory, name, undefined, (entry) => {
    const rotation: Rotation = { stage: 'adding', startedAt: timestamp(), instances: {}, regions };
    const next = { privateKey, publicKey };
    makeChange(directory, { name, entry: { ...entry, rotation: rotationEntry(rotation) }, next });
  });
}

/**
 * Makes the new key the one in use, and keeps the old one. Instances that have shown that they let the new one in
 * are `proven`; every other one that is known goes on with the old key.
 */
export function switchKeys(
  directory: string,
  name: string,
  { proven, others }: { readonly proven: readonly string[]; readonly others: readonly string[] },
): void {
  change(directory, name, 'adding', (entry, { instances, rotation }) => {
    const read = (role?: 'next') => ({
      privateKey: readPrivateKey(directory, name, role),
      publicKey: `${readPublicKey(directory, name, role)}\n`,
    });
    const [old, next] = [read(), read('next')];
    const blob = blobOfLine(next.publicKey);
    const letsIn: Record<string, LetsIn> = {};
    // One may have been logged in to with the old key for the first time since the rotation began.
    for (const vm of others) letsIn[vm] = 'old';
    for (const vm of proven) letsIn[vm] = 'both';
    const known = new Set(Object.keys(letsIn));
    for (const vm of instances) if (!known.has(vm.toLowerCase())) letsIn[vm] = 'old';
    const after = { ...rotation, stage: 'removing', instances: letsIn } as const;
    makeChange(directory, {
      name,
      entry: {
        ...entry,
        ...(blob === undefined ? {} : { type: typeOfBlob(blob) }),
        created_at: timestamp(),
        rotation: rotationEntry(after),
      },
      ...next,
      next: null,
      old,
    });
  });
}

/** Notes what an instance lets in now; `done`: the new key alone. */
export function noteInstance(directory: string, name: string, vm: string, letsIn: LetsIn | 'done'): void {
  note(directory, name, (rotation) => {
    const { [vm]: _, ...others } = rotation.instances;
    return { ...rotation, instances: letsIn === 'done' ? others : { ...others, [vm]: letsIn } };
  });
}

/** Notes that EC2 has the new public key in this region. */
export function noteRegion(directory: string, name: string, region: string): void {
  note(directory, name, (rotation) => ({
    ...rotation,
    regions: rotation.regions.filter((other) => other !== region),
  }));
}

/** Where nothing is left to do, forgets the old key; false where something is. */
export function endRotation(directory: string, name: string): boolean {
  return change(directory, name, 'removing', (entry, { rotation }) => {
    if (Object.keys(rotation.instances).length > 0 || rotation.regions.length > 0) return false;
    const { rotation: _, ...rest } = entry;
    makeChange(directory, { name, entry: rest, old: null });
    return true;
  });
}

function note(directory: string, name: string, action: (rotation: Rotation) => Rotation): void {
  change(directory, name, 'removing', (entry, { rotation }) => {
    changeEntry(directory, name, { ...entry, rotation: rotationEntry(action(rotation)) });
  });
}

interface Rotating extends KeyRecord {
  readonly rotation: Rotation;
}

/** Another process may have gone on with it, or deleted the key: then nothing is done. */
function change<T>(
  directory: string,
  name: string,
  stage: Rotation['stage'] | undefined,
  action: (entry: JsonObject, record: Rotating) => T,
): T {
  return withStore(directory, () => {
    const { keys, entries } = readMetadata(directory);
    const record = keys.find((key) => key.name === name);
    const entry = entries[name];
    if (record === undefined || entry === undefined || record.rotation?.stage !== stage) {
      throw new MintError('key-store', `another command has changed the key of ${name} meanwhile`, {
        hint: `\`mint-ssh keys show ${name}\` shows how far its rotation is; run it again`,
      });
    }
    return action(entry, record as Rotating);
  });
}
