/**
 * The steps of a rotation in the store:
 *
 * 1. `beginRotation` writes the new key as `.mint-ssh/<name>.next`. From now on a login offers both keys, the likelier one
 *    first (`keyForMachine`), so that it succeeds whichever of them the machine accepts by then.
 * 2. `switchKeys` copies the key in use to `.mint-ssh/<name>.old` and then commits with one write of state.json: from
 *    then on the new key is in use, and each machine that has not proved that it accepts it is marked `old`. The new
 *    key's file is moved into its place after that, at the latest when the store is next opened.
 * 3. `noteMachine` and `noteRegions` record the progress.
 * 4. `endRotation` removes the old key, once no machine, and no region of EC2, may still need it.
 *
 * Only `needsOldKey` decides whether the old key must be kept.
 */
import { MintError } from '../../errors.ts';
import { parseHostKey } from '../../ssh/hostkey.ts';
import { changeKey, type KeyRecord, recordsOf, withStore, writeKeyState, writeRecord } from './key-store.ts';
import type { Machine, Rotation } from './own-state.ts';
import {
  ensureOwnDirectory,
  finishSwitches,
  type KeyMaterial,
  keyFiles,
  publicBlobOf,
  readPrivateKey,
  readPublicKey,
  removePair,
  timestamp,
  writePair,
} from './store-files.ts';

/** Identifies a machine by EC2's instance ID, or else by its name; and by the user whose authorized_keys it is. */
export type MachineId = Pick<Machine, 'instance' | 'name'> & { readonly user?: string | undefined };

/** @returns whether both are the same machine; names count only if an instance ID is unknown, users only if both are known */
export function isSameMachine(one: MachineId, other: MachineId): boolean {
  if (one.user !== undefined && other.user !== undefined && one.user !== other.user) return false;
  if (one.instance !== undefined && other.instance !== undefined) return one.instance === other.instance;
  return one.name.toLowerCase() === other.name.toLowerCase();
}

/** @returns the entry that matches the machine most specifically */
export function machineOf(machines: readonly Machine[], id: MachineId): Machine | undefined {
  const same = machines.filter((machine) => isSameMachine(machine, id));
  const sureness = ({ instance, user }: Machine) =>
    (instance !== undefined && instance === id.instance ? 2 : 0) +
    (user !== undefined && user === id.user ? 1 : 0);
  return same.sort((one, other) => sureness(other) - sureness(one))[0];
}

/**
 * The rule for the old key: it is kept while any known or discoverable machine may still need it.
 *
 * @returns the reasons to keep it, as texts for the user; empty if nothing needs it
 */
export function needsOldKey({ machines, rotation }: Pick<KeyRecord, 'machines' | 'rotation'>): string[] {
  if (rotation === undefined) return [];
  return [
    ...machines
      .filter(({ accepts }) => accepts === 'old')
      .map(({ name }) => `${name} accepts only the old key`),
    ...machines
      .filter(({ accepts }) => accepts === 'both')
      .map(({ name }) => `${name} still accepts the old key`),
    ...rotation.regions.map((region) => `EC2 still has the old public key in ${region}`),
    ...rotation.unasked.map((region) => `EC2 in ${region} could not be asked which instances have the key`),
    ...(rotation.isUnproved ? ['no instance is known that accepts the new key'] : []),
  ];
}

/** Writes the new key beside the one in use. */
export function beginRotation(directory: string, name: string, material: KeyMaterial): void {
  withStore(directory, () => {
    const record = recordsOf(directory).find((key) => key.name === name);
    if (record === undefined || record.rotation !== undefined || record.hasNext) throw changedMeanwhile(name);
    ensureOwnDirectory(directory);
    writePair(keyFiles(directory, name, 'next'), material);
  });
}

/**
 * Makes the new key the one in use and keeps the old one.
 *
 * @param proven machines that have logged in with the new key; all other known machines keep using the old key
 * @param left regions where EC2 has the old public key, or could not be asked
 * @param fingerprint the new key
 */
export function switchKeys(
  directory: string,
  name: string,
  {
    proven,
    left,
    fingerprint,
  }: {
    readonly proven: readonly MachineId[];
    readonly left: Pick<Rotation, 'regions' | 'unasked'>;
    readonly fingerprint: string;
  },
): void {
  withStore(directory, () => {
    const record = recordsOf(directory).find((key) => key.name === name);
    if (record === undefined || record.rotation !== undefined || !record.hasNext)
      throw changedMeanwhile(name);
    writePair(keyFiles(directory, name, 'old'), {
      privateKey: readPrivateKey(directory, name),
      publicKey: `${readPublicKey(directory, name)}\n`,
    });
    // A machine may have been logged in to for the first time since the rotation began.
    const machines = record.machines.map((machine): Machine => {
      const isProven = proven.some((one) => machineOf(record.machines, one) === machine);
      return isProven
        ? { ...machine, accepts: 'both', proved: fingerprint }
        : { ...machine, accepts: 'old', proved: undefined };
    });
    const rotation = { startedAt: timestamp(), ...left, isUnproved: proven.length === 0 };
    writeKeyState(directory, { ...record, machines, rotation });
    finishSwitches(directory);
  });
}

/**
 * Records which keys a machine accepts now.
 *
 * @param accepts `done`: only the new key
 * @param fingerprint the new key
 */
export function noteMachine(
  directory: string,
  name: string,
  id: MachineId,
  accepts: 'both' | 'done',
  fingerprint: string,
): void {
  note(directory, name, (record) => ({
    ...record,
    machines: record.machines.map((machine) =>
      machine === machineOf(record.machines, id)
        ? { ...machine, accepts: accepts === 'done' ? undefined : accepts, proved: fingerprint }
        : machine,
    ),
    rotation: { ...record.rotation, isUnproved: false },
  }));
}

/** Records the regions of EC2 that are not finished. */
export function noteRegions(
  directory: string,
  name: string,
  left: Pick<Rotation, 'regions' | 'unasked'>,
): void {
  note(directory, name, (record) => ({ ...record, rotation: { ...record.rotation, ...left } }));
}

/**
 * Removes the old key if nothing needs it.
 *
 * @param isForced removes it anyway, and forgets the machines that accept only the old key
 * @returns the reasons to keep it; empty if it was removed
 */
export function endRotation(directory: string, name: string, isForced = false): readonly string[] {
  return withStore(directory, () => {
    const record = recordsOf(directory).find((key) => key.name === name);
    if (record?.rotation === undefined) return [];
    const reasons = needsOldKey(record);
    if (reasons.length > 0 && !isForced) return reasons;
    removePair(keyFiles(directory, name, 'old'));
    const machines = record.machines
      .filter(({ accepts }) => accepts !== 'old')
      .map((machine) => ({ ...machine, accepts: undefined }));
    writeRecord(directory, { ...record, machines, rotation: undefined });
    return [];
  });
}

/** Adds machines that accept the key, or updates their entries. An entry never loses an accepted key. */
export function addMachines(
  directory: string,
  name: string,
  found: readonly (MachineId & Partial<Machine>)[],
): void {
  changeKey(directory, name, (record) => found.reduce(withFound, record));
}

function withFound(record: KeyRecord, found: MachineId & Partial<Machine>): KeyRecord {
  const known = machineOf(record.machines, found);
  const given = Object.fromEntries(Object.entries(found).filter(([, value]) => value !== undefined));
  const before = known ?? { ...unknownMachine(found), accepts: acceptsBefore(record) };
  const machines = withMachine(record.machines, known, { ...before, ...given } as Machine);
  return { ...record, machines };
}

/**
 * Enters a machine that is about to be given the key.
 *
 * @param fingerprint of the key
 * @throws MintError `key-store` if that is not the key in use, or a rotation has begun: the machine would get a key that is
 *   about to be removed
 */
export function enterMachine(
  directory: string,
  name: string,
  machine: MachineId & Partial<Machine>,
  fingerprint: string,
): void {
  const entered = changeKey(directory, name, (record) => {
    const blob = publicBlobOf(directory, name);
    const isInUse = blob !== undefined && parseHostKey(blob).fingerprint === fingerprint;
    if (!isInUse || record.rotation !== undefined || record.hasNext) throw changedMeanwhile(name);
    return withFound(record, machine);
  });
  if (entered === undefined) throw changedMeanwhile(name);
}

/** What a machine accepts that is first met now: while a rotation is open, the old key until a login has proved more. */
function acceptsBefore({ rotation }: Pick<KeyRecord, 'rotation'>): Machine['accepts'] {
  return rotation === undefined ? undefined : 'old';
}

/**
 * The machines with `after` in place of `known`. Where `after` has an instance id, an entry that has no more than its name is
 * the same machine: the two become one, which needs the keys that either of them needed.
 */
export function withMachine(
  machines: readonly Machine[],
  known: Machine | undefined,
  after: Machine,
): readonly Machine[] {
  const isNameOnly = (one: Machine) =>
    one !== known && after.instance !== undefined && one.instance === undefined && isSameMachine(one, after);
  const accepts = [...machines.filter(isNameOnly), after].map((one) => one.accepts);
  const merged = { ...after, accepts: (['old', 'both'] as const).find((each) => accepts.includes(each)) };
  const others = machines.filter((one) => !isNameOnly(one));
  return known === undefined ? [...others, merged] : others.map((one) => (one === known ? merged : one));
}

function unknownMachine({ instance, name, user }: MachineId): Machine {
  return {
    instance,
    name,
    user,
    region: undefined,
    lastUsed: undefined,
    proved: undefined,
    accepts: undefined,
  };
}

/** Forgets a machine. */
export function forgetMachine(directory: string, name: string, id: MachineId): void {
  changeKey(directory, name, (record) => ({
    ...record,
    machines: record.machines.filter((machine) => machine !== machineOf(record.machines, id)),
  }));
}

/** Adds a name of the key in EC2. The first name becomes the one in metadata.json. */
export function addEc2Name(directory: string, name: string, region: string, awsKeyName: string): void {
  changeKey(directory, name, (record) => {
    const { ec2Names } = record;
    if (ec2Names.some((at) => at.region === region && at.name === awsKeyName)) return record;
    const first = record.awsKeyName === undefined ? { region, awsKeyName } : {};
    return { ...record, ...first, ec2Names: [...ec2Names, { region, name: awsKeyName }] };
  });
}

type Rotating = KeyRecord & { readonly rotation: Rotation };

/** Does nothing if another process has ended the rotation or deleted the key. */
function note(directory: string, name: string, action: (record: Rotating) => KeyRecord): void {
  changeKey(directory, name, (record) =>
    record.rotation === undefined ? undefined : action(record as Rotating),
  );
}

function changedMeanwhile(name: string): MintError {
  return new MintError('key-store', `another command changed the key ${name} at the same time`, {
    hint: `check its rotation with \`mint-ssh keys show ${name}\`, then run this again`,
  });
}
