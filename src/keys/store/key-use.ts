/** The agent's use of the store: finds the keys that a machine accepts, and records the outcome of the login. */
import { existsSync } from 'node:fs';
import { MintError } from '../../errors.ts';
import { parseHostKey } from '../../ssh/hostkey.ts';
import { changeKey, isNamedInEc2, type KeyRecord, lookUp, recordsOf, withStore } from './key-store.ts';
import { blobOfLine } from './key-type.ts';
import type { Accepts, Machine } from './own-state.ts';
import { type MachineId, machineOf, withMachine } from './rotation.ts';
import { publicBlobOf, type RotationKey, readPrivateKey, readPublicKey, timestamp } from './store-files.ts';

/** One key of the store as it was read for a login. */
export interface StoredKey {
  /** The bytes of its file, for `parseKeyFile` and `openKeyFile`. */
  readonly privateKey: Buffer;
  /** The line in its `.pub` file. */
  readonly publicKey: string;
}

export interface ServedKey extends StoredKey {
  readonly record: KeyRecord;
  /** `old`: the machine accepts only the old key of a rotation. */
  readonly role: 'old' | undefined;
  /** The machine's entry in the store. */
  readonly machine: Machine | undefined;
  /** Whether this very key has logged in to the machine before. */
  readonly isProved: boolean;
  /**
   * The other key of a rotation that has begun. The machine may accept it instead, or from the next moment on, so a login
   * offers it second. Undefined where no rotation is open, or the key is damaged.
   */
  readonly other: StoredKey | undefined;
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
 * The key that the machine accepts now, and beside it the other key of an open rotation: a machine that a rotation has not
 * reached still has the old one, and one that it works on changes at any moment.
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
    const key = storedKey(directory, record.name, role);
    const blob = blobOfLine(key.publicKey);
    const isProved = blob !== undefined && machine?.proved === parseHostKey(blob).fingerprint;
    return { ...key, record, role, machine, isProved, other: otherKey(directory, record, role) };
  };
  return withStore(directory, read, waitMs.login);
}

function storedKey(directory: string, name: string, role: RotationKey | undefined): StoredKey {
  return {
    privateKey: readPrivateKey(directory, name, role),
    publicKey: readPublicKey(directory, name, role),
  };
}

/** @param role of the key that is offered first */
function otherKey(
  directory: string,
  { name, rotation, hasNext }: KeyRecord,
  role: 'old' | undefined,
): StoredKey | undefined {
  if (rotation === undefined && !hasNext) return undefined;
  try {
    const other = rotation === undefined ? 'next' : role === 'old' ? undefined : 'old';
    return storedKey(directory, name, other);
  } catch (error) {
    // The login goes on with the first one; `keys rotate` and `keys doctor` report this.
    if (error instanceof MintError) return undefined;
    throw error;
  }
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
 * @param fingerprint of the key that has logged in. Which key of a rotation that is, is decided now: the rotation may have
 *   gone on since the login began
 * @param isSecond the login has offered the other key of the rotation first, and the machine did not accept that
 * @returns the key as it is known now; undefined if the use could not be written
 */
export function recordUse(
  directory: string,
  name: string,
  to: LoginMachine,
  fingerprint: string,
  isSecond = false,
): KeyRecord | undefined {
  return noteLogin(directory, name, to, (machine, record) => {
    const age = Date.now() - Date.parse(machine?.lastUsed ?? '');
    const isComplete =
      machine?.user === to.user && (to.instance === undefined || machine?.instance !== undefined);
    const isInUse = fingerprintOf(directory, name) === fingerprint;
    const { accepts, proved } =
      record.rotation === undefined
        ? { accepts: undefined, proved: isInUse ? fingerprint : machine?.proved }
        : afterUse(machine, { fingerprint, isInUse, isSecond });
    const isSame = machine?.proved === proved && machine?.accepts === accepts;
    if (isComplete && isSame && age >= 0 && age < noteIntervalMs) return undefined;
    return { lastUsed: timestamp(), proved, accepts };
  });
}

/** What a login during an open rotation shows. Only `keys rotate` proves that a machine refuses the old key. */
function afterUse(
  machine: Machine | undefined,
  {
    fingerprint,
    isInUse,
    isSecond,
  }: { readonly fingerprint: string; readonly isInUse: boolean; readonly isSecond: boolean },
): { readonly accepts: Accepts | undefined; readonly proved: string | undefined } {
  if (isInUse) {
    const isReached = machine !== undefined && machine.accepts !== 'old';
    return { accepts: isReached ? machine.accepts : 'both', proved: fingerprint };
  }
  // The old key: used by a login that began before the switch, or because the new one was not accepted.
  const isReached = !isSecond && machine !== undefined && machine.accepts !== 'old';
  return isReached
    ? { accepts: machine.accepts, proved: machine.proved }
    : { accepts: 'old', proved: fingerprint };
}

/**
 * Notes that the machine did not accept the key.
 *
 * @param fingerprint of the key that was refused
 * @returns false if it could not be written
 */
export function recordRefusal(
  directory: string,
  name: string,
  to: LoginMachine,
  fingerprint: string,
): boolean {
  const noted = noteLogin(directory, name, to, (machine) =>
    machine?.proved === fingerprint ? { proved: undefined } : undefined,
  );
  return noted !== undefined;
}

/**
 * Never throws.
 *
 * @param change gives the fields that change; undefined leaves everything as it is. Called under the store's lock
 * @returns the key as it is now; undefined if it is not there or could not be written
 */
function noteLogin(
  directory: string,
  name: string,
  { instance, name: vm, user, region }: LoginMachine,
  change: (machine: Machine | undefined, record: KeyRecord) => Partial<Machine> | undefined,
): KeyRecord | undefined {
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
    const isProved = after.proved !== undefined && after.accepts !== 'old';
    const rotation = record.rotation && {
      ...record.rotation,
      isUnproved: record.rotation.isUnproved && !isProved,
    };
    return { ...record, machines: withMachine(record.machines, known, after), rotation };
  };
  try {
    return changeKey(directory, name, noted, waitMs.note);
  } catch (error) {
    if (error instanceof MintError) return undefined;
    throw error;
  }
}

function fingerprintOf(directory: string, name: string): string | undefined {
  const blob = publicBlobOf(directory, name);
  return blob && parseHostKey(blob).fingerprint;
}
