/**
 * `.mint-ssh/state.json` in the store: mint-ssh's own data about each key. It is a separate file because CloudWorkstation
 * and Prism drop fields of metadata.json that they do not know. Each step of a rotation is one write of this file, and
 * the key files follow it (rotation.ts).
 */

import { MintError } from '../../errors.ts';
import { quoted } from '../../platform/files.ts';
import { instancePattern } from '../../settings/vm-name.ts';
import { isObject, type JsonObject, LaterStoreVersion } from './metadata.ts';

/** Which keys of an unfinished rotation a machine accepts: only the old one, or both. */
export type Accepts = 'old' | 'both';

/** A machine that accepts a key. */
export interface Machine {
  /** EC2's instance ID, which identifies it; undefined if only a name is known. */
  readonly instance: string | undefined;
  /** The VM's name, which identifies a machine without an instance ID. */
  readonly name: string;
  /** The user whose authorized_keys has the key; undefined if unknown. */
  readonly user: string | undefined;
  readonly region: string | undefined;
  /** The last login with the key, ISO 8601. */
  readonly lastUsed: string | undefined;
  /** SHA-256 fingerprint of the key that last logged in; undefined if none has, or the last one was refused. */
  readonly proved: string | undefined;
  /** Undefined outside a rotation, and for a machine that a rotation has finished. */
  readonly accepts: Accepts | undefined;
}

/** An unfinished rotation: the new key is in use, and the old one is kept. */
export interface Rotation {
  /** ISO 8601. */
  readonly startedAt: string;
  /** Regions where EC2 still has the old public key, so new instances may be launched with it. */
  readonly regions: readonly string[];
  /** Regions where EC2 could not be asked which instances were launched with the key. */
  readonly unasked: readonly string[];
  /** Whether no login has proved the new key anywhere. The old one is then kept until the user forces its removal. */
  readonly isUnproved: boolean;
}

/** The name of a key pair of EC2, in its region. */
export interface Ec2Name {
  readonly region: string;
  readonly name: string;
}

export interface KeyState {
  readonly machines: readonly Machine[];
  /**
   * All names that the key has had in EC2. Prism overwrites the one in metadata.json with each launch in another region,
   * and earlier instances still have the old KeyName.
   */
  readonly ec2Names: readonly Ec2Name[];
  readonly rotation: Rotation | undefined;
}

export type OwnState = Readonly<Record<string, KeyState>>;

export const emptyKeyState: KeyState = { machines: [], ec2Names: [], rotation: undefined };

const version = 1;

/** @returns the text of state.json, with a final newline */
export function formatState(keys: OwnState): string {
  const entries = Object.entries(keys).map(([name, { machines, ec2Names, rotation }]) => [
    name,
    { machines: machines.map(machineEntry), ec2_names: ec2Names, rotation: rotationEntry(rotation) },
  ]);
  return `${JSON.stringify({ version, keys: Object.fromEntries(entries) }, undefined, 2)}\n`;
}

function machineEntry(machine: Machine): JsonObject {
  return {
    instance: machine.instance,
    name: machine.name,
    user: machine.user,
    region: machine.region,
    last_used: machine.lastUsed,
    proved: machine.proved,
    accepts: machine.accepts,
  };
}

function rotationEntry(rotation: Rotation | undefined): JsonObject | null {
  if (rotation === undefined) return null;
  const { startedAt, regions, unasked, isUnproved } = rotation;
  return { started_at: startedAt, aws_regions: regions, unasked_regions: unasked, unproved: isUnproved };
}

/** @throws MintError `key-store` for a damaged file, LaterStoreVersion for a file of a later version */
export function parseState(text: string): OwnState {
  const whole = parseJson(text);
  const found = isObject(whole) ? whole['version'] : undefined;
  if (typeof found === 'number' && found > version) {
    throw new LaterStoreVersion(
      'key-store',
      'the state file of the key store was written by a later mint-ssh',
      {
        hint: 'use that version',
      },
    );
  }
  const keys = isObject(whole) ? whole['keys'] : undefined;
  if (found !== version || !isObject(keys)) throw damaged();
  return Object.fromEntries(Object.entries(keys).map(([name, entry]) => [name, keyState(name, entry)]));
}

function keyState(name: string, entry: unknown): KeyState {
  const { machines, ec2_names: ec2Names } = isObject(entry) ? entry : {};
  if (!isObject(entry) || !Array.isArray(machines) || !Array.isArray(ec2Names)) throw damaged(name);
  return {
    machines: machines.map((machine) => parseMachine(name, machine)),
    ec2Names: ec2Names.map((at) => parseEc2Name(name, at)),
    rotation: parseRotation(name, entry['rotation']),
  };
}

function parseEc2Name(key: string, value: unknown): Ec2Name {
  const { region, name } = isObject(value) ? value : {};
  if (typeof region !== 'string' || typeof name !== 'string') throw damaged(key);
  return { region, name };
}

function parseMachine(key: string, value: unknown): Machine {
  if (!isObject(value)) throw damaged(key);
  const text = (field: string): string | undefined => {
    const found = value[field];
    if (found !== undefined && typeof found !== 'string') throw damaged(key);
    return found;
  };
  const [instance, name, accepts] = [text('instance'), text('name'), text('accepts')];
  if (name === undefined || (instance !== undefined && !instancePattern.test(instance))) throw damaged(key);
  if (accepts !== undefined && accepts !== 'old' && accepts !== 'both') throw damaged(key);
  const [user, region] = [text('user'), text('region')];
  return { instance, name, user, region, lastUsed: text('last_used'), proved: text('proved'), accepts };
}

function parseRotation(key: string, value: unknown): Rotation | undefined {
  if (value === undefined || value === null) return undefined;
  if (!isObject(value)) throw damaged(key);
  const { started_at: startedAt, aws_regions: regions, unasked_regions: unasked, unproved } = value;
  if (typeof startedAt !== 'string' || !isTextList(regions) || !isTextList(unasked)) throw damaged(key);
  return { startedAt, regions, unasked, isUnproved: unproved === true };
}

function isTextList(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((one) => typeof one === 'string');
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw damaged(undefined, cause);
  }
}

function damaged(key?: string, cause?: unknown): MintError {
  const where = key === undefined ? '' : ` at ${quoted(key.slice(0, 40))}`;
  return new MintError('key-store', `the state file of the key store is damaged${where}`, {
    hint: '`mint-ssh keys doctor` renames it',
    cause,
  });
}
