/** The agent's use of the store: finds the key that a machine accepts, and records the outcome of the login. */
import { existsSync } from 'node:fs';
import { MintError } from '../../errors.ts';
import { parseHostKey } from '../../ssh/hostkey.ts';
import { changeKey, isNamedInEc2, type KeyRecord, lookUp, recordsOf, withStore } from './key-store.ts';
import { blobOfLine } from './key-type.ts';
import type { Accepts, Machine } from './own-state.ts';
import { type MachineId, machineOf } from './rotation.ts';
import { readPrivateKey, readPublicKey, timestamp } from './store-files.ts';

export interface ServedKey {
  readonly record: KeyRecord;
  /** `old`: the machine accepts only the old key of a rotation. */
  readonly role: 'old' | undefined;
  /** The machine's entry in the store. */
  readonly machine: Machine | undefined;
  /** The bytes of the key file, for `parseKeyFile` and `openKeyFile`. */
  readonly privateKey: Buffer;
  /** The line in its `.pub` file. */
  readonly publicKey: string;
  /** Whether this key has logged in to the machine before. */
  readonly isProved: boolean;
}

/** A key by its profile or another name that the user gave, or by an instance's KeyName. */
export type WhichKey = { readonly profile: string } | { readonly awsKeyName: string };

/** The machine of a login. */
export interface LoginMachine extends MachineId {
  readonly region: string | undefined;
}

/** How long to wait for the store's lock, in milliseconds: longer for a login than for recording its outcome. */
const waitMs = { login: 5_000, note: 200 };
/** The shortest interval between two records of a use. */
const noteIntervalMs = 60_000;

/**
 * Finds the key that the machine accepts now. During a rotation, a machine that was not reached still has the old key. A
 * key that was read earlier is valid while this returns the same public line.
 *
 * @returns undefined if the key does not exist
 * @throws MintError `key-store`, `key-name`, `unsafe-permissions`, `io-failed`
 */
export function keyForMachine(directory: string, which: WhichKey, to: LoginMachine): ServedKey | undefined {
  if (!existsSync(directory)) return undefined;
  const read = (): ServedKey | undefined => {
    const keys = recordsOf(directory);
    const record =
      'profile' in which
        ? lookUp(keys, which.profile)
        : keys.find((key) => isNamedInEc2(key, which.awsKeyName));
    if (record === undefined) return undefined;
    const machine = machineOf(record.machines, to);
    const role = acceptsOldKeyOnly(record, machine, which, to) ? 'old' : undefined;
    const publicKey = readPublicKey(directory, record.name, role);
    const blob = blobOfLine(publicKey);
    const isProved = blob !== undefined && machine?.proved === parseHostKey(blob).fingerprint;
    const privateKey = readPrivateKey(directory, record.name, role);
    return { record, role, machine, privateKey, publicKey, isProved };
  };
  return withStore(directory, read, waitMs.login);
}

/**
 * A machine that a rotation has not reached is marked. An unknown machine was launched after the rotation asked EC2: with
 * the old key if EC2 still has that, otherwise with the new one.
 */
function acceptsOldKeyOnly(
  { rotation, ec2Names }: KeyRecord,
  machine: Machine | undefined,
  which: WhichKey,
  { region }: LoginMachine,
): boolean {
  if (rotation === undefined) return false;
  if (machine !== undefined) return machine.accepts === 'old';
  if (!('awsKeyName' in which)) return false;
  const regions = ec2Names.filter(({ name }) => name === which.awsKeyName).map((at) => at.region);
  const at = region ?? regions[0] ?? '';
  return rotation.regions.includes(at) || rotation.unasked.includes(at);
}

/**
 * Records a login to the machine with this key. No login depends on it.
 *
 * @param fingerprint the key of the login
 * @returns false if it could not be written
 */
export function recordUse(
  directory: string,
  name: string,
  to: LoginMachine,
  fingerprint: string,
  role?: 'old',
): boolean {
  return noteLogin(directory, name, to, (machine, record) => {
    const age = Date.now() - Date.parse(machine?.lastUsed ?? '');
    const isComplete =
      machine?.user === to.user && (to.instance === undefined || machine?.instance !== undefined);
    if (isComplete && machine?.proved === fingerprint && age >= 0 && age < noteIntervalMs) return undefined;
    const accepts = record.rotation === undefined ? undefined : role === 'old' ? 'old' : machine?.accepts;
    return { lastUsed: timestamp(), proved: fingerprint, accepts: accepts as Accepts | undefined };
  });
}

/**
 * Records that the machine refused the key. During a rotation, the next login tries the other key if it is uncertain
 * which one the machine accepts.
 *
 * @param fingerprint the refused key
 */
export function recordRefusal(
  directory: string,
  name: string,
  to: LoginMachine,
  fingerprint: string,
  role?: 'old',
): boolean {
  return noteLogin(directory, name, to, (machine, { rotation }) => {
    const wasProved = machine?.proved === fingerprint;
    if (rotation === undefined) return wasProved ? { proved: undefined } : undefined;
    if (wasProved) return { proved: undefined };
    return { proved: undefined, accepts: role === 'old' ? undefined : 'old' };
  });
}

/**
 * Never throws.
 *
 * @param change returns the changed fields, or undefined to change nothing
 */
function noteLogin(
  directory: string,
  name: string,
  { instance, name: vm, user, region }: LoginMachine,
  change: (machine: Machine | undefined, record: KeyRecord) => Partial<Machine> | undefined,
): boolean {
  const noted = (record: KeyRecord): KeyRecord | undefined => {
    const known = machineOf(record.machines, { instance, name: vm, user });
    const fields = change(known, record);
    if (fields === undefined) return undefined;
    const before = known ?? { lastUsed: undefined, proved: undefined, accepts: undefined };
    const after: Machine = {
      ...before,
      instance: instance ?? known?.instance,
      name: vm,
      user: user ?? known?.user,
      region: region ?? known?.region,
      ...fields,
    };
    const machines =
      known === undefined
        ? [...record.machines, after]
        : record.machines.map((one) => (one === known ? after : one));
    const isProved = after.proved !== undefined && after.accepts !== 'old';
    const rotation = record.rotation && {
      ...record.rotation,
      isUnproved: record.rotation.isUnproved && !isProved,
    };
    return { ...record, machines, rotation };
  };
  try {
    return changeKey(directory, name, noted, waitMs.note) !== undefined;
  } catch (error) {
    if (error instanceof MintError) return false;
    throw error;
  }
}
