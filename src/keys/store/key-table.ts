/** What `keys list` and `keys show` print. */
import { columns } from '../../cli/columns.ts';
import { printable } from '../../cli/terminal.ts';
import type { KeyRecord } from './metadata.ts';
import { rotationEntry } from './rotation-state.ts';

const head = ['KEY', 'PROFILE', 'REGION', 'INSTANCES', 'CREATED', 'TYPE'];

/** For a person; whatever metadata.json holds, nothing in it acts on a terminal. */
export function managedKeyTable(keys: readonly KeyRecord[]): string {
  return columns(head, keys.map(cellsOf));
}

function cellsOf({ name, profile, region, awsKeyName, instances, createdAt, type }: KeyRecord): string[] {
  return [
    awsKeyName ?? name,
    profile,
    region ?? '-',
    instances.join(',') || '-',
    createdAt || '-',
    type || '-',
  ];
}

/** What is known of a key besides its entry in metadata.json. */
export interface KeyDetails {
  readonly path: string;
  readonly fingerprint: string;
  /** The line in its `.pub` file. */
  readonly publicKey: string;
}

/** An instance that a key lets in to. */
export interface InstanceUse {
  readonly name: string;
  /** As EC2 said last; undefined where nothing is known. */
  readonly state: string | undefined;
  /** ISO 8601. */
  readonly lastUsed: string | undefined;
  /** What a rotation has still to bring it. */
  readonly waits: 'new key' | 'end of the old key' | undefined;
}

/** One key, for a person. */
export function managedKeyText(
  key: KeyRecord,
  { path, fingerprint, publicKey }: KeyDetails,
  uses: readonly InstanceUse[],
): string {
  const further = Object.entries(key.awsKeyNames).map(([region, name]) => `${name} (${region})`);
  const lines = [
    ['key', key.name],
    ['profile', key.profile],
    ['in EC2', [key.awsKeyName, ...further].filter((name) => name !== undefined).join(', ')],
    ['region', key.region],
    ['type', key.type],
    ['created', key.createdAt],
    ['path', path],
    ['fingerprint', fingerprint],
    ['public key', publicKey],
    ...(key.rotation === undefined ? [] : [['rotation', `not finished, since ${key.rotation.startedAt}`]]),
    ...(uses.length === 0 ? [['instances', '-']] : uses.map((use) => ['instance', useText(use)])),
  ];
  return lines.map(([name, value]) => `${`${name}:`.padEnd(13)}${printable(value || '-')}`).join('\n');
}

function useText({ name, state, lastUsed, waits }: InstanceUse): string {
  const used = lastUsed === undefined ? 'no login seen' : `last login ${lastUsed}`;
  const left = waits === undefined ? [] : [`waits for the ${waits}`];
  return `${name} (${[state ?? 'state not known', used, ...left].join(', ')})`;
}

/** For a program; the fields of metadata.json, and the name they stand under. */
export function managedKeyJson(key: KeyRecord): Record<string, unknown> {
  return {
    name: key.name,
    profile: key.profile,
    aws_key_name: key.awsKeyName ?? null,
    aws_key_names: key.awsKeyNames,
    region: key.region ?? null,
    instances: key.instances,
    last_used: key.lastUsed,
    rotation: key.rotation === undefined ? null : rotationEntry(key.rotation),
    created_at: key.createdAt,
    type: key.type,
  };
}
