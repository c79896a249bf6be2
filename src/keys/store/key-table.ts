/** The output of `keys list` and `keys show`, as text and as JSON. */
import { columns } from '../../cli/columns.ts';
import { printable } from '../../cli/terminal.ts';
import type { KeyRecord } from './key-store.ts';
import { shownName, type UnusableEntry } from './metadata.ts';
import { machineEntry, rotationEntry } from './own-state.ts';

const head = ['KEY', 'PROFILE', 'REGION', 'INSTANCES', 'CREATED', 'TYPE'];

/** The table for the terminal. Text from metadata.json is escaped. */
export function managedKeyTable(keys: readonly KeyRecord[], unusable: readonly UnusableEntry[]): string {
  const others = unusable.map(({ name }) => [shownName(name), '-', '-', '-', '-', 'not served']);
  return columns(head, [...keys.map(cellsOf), ...others]);
}

function cellsOf({ name, region, machines, createdAt, type }: KeyRecord): string[] {
  return [
    name,
    name,
    region ?? '-',
    String(machines.length),
    printable(createdAt.slice(0, 10)) || '-',
    type || '-',
  ];
}

/** Details of a key beside its record. */
export interface KeyDetails {
  readonly path: string;
  readonly fingerprint: string;
  /** The line in its `.pub` file. */
  readonly publicKey: string;
}

/** An instance that accepts a key. */
export interface InstanceUse {
  readonly name: string;
  readonly instance: string | undefined;
  /** As EC2 last returned it; undefined if unknown. */
  readonly state: string | undefined;
  /** The age of that answer, such as `3 min`. */
  readonly stateAge: string | undefined;
  /** ISO 8601. */
  readonly lastUsed: string | undefined;
  /** The remaining step of a rotation on the instance. */
  readonly waits: 'new key' | 'end of the old key' | undefined;
}

/** The text about one key, for the terminal. */
export function managedKeyText(
  key: KeyRecord,
  { path, fingerprint, publicKey }: KeyDetails,
  uses: readonly InstanceUse[],
): string {
  const inEc2 = key.ec2Names.map(({ region, name }) => `${name} (${region})`);
  const state =
    key.rotation === undefined
      ? key.hasNext
        ? 'begun, no new key in use yet'
        : undefined
      : `not finished, since ${key.rotation.startedAt}`;
  const lines = [
    ['key', key.name],
    ['AWS KeyName', inEc2.join(', ')],
    ['region', key.region],
    ['type', key.type],
    ['created', key.createdAt],
    ['path', path],
    ['fingerprint', fingerprint],
    ['public key', publicKey],
    ...(state === undefined ? [] : [['rotation', state]]),
    ...(uses.length === 0 ? [['instances', '-']] : uses.map((use) => ['instance', useText(use)])),
  ];
  return lines.map(([name, value]) => `${`${name}:`.padEnd(13)}${printable(value || '-')}`).join('\n');
}

function useText({ name, instance, state, stateAge, lastUsed, waits }: InstanceUse): string {
  const shown =
    state === undefined ? 'state not known' : `${state}${stateAge === undefined ? '' : ` ${stateAge} ago`}`;
  const used = lastUsed === undefined ? 'no login seen' : `last login ${lastUsed}`;
  const id = instance === undefined || instance === name ? [] : [instance];
  const left = waits === undefined ? [] : [`waits for the ${waits}`];
  return `${name} (${[...id, shown, used, ...left].join(', ')})`;
}

/** The value that `--json` prints: the fields of metadata.json, those of mint-ssh, and the name. */
export function managedKeyJson(key: KeyRecord): Record<string, unknown> {
  const further = key.ec2Names.filter(({ region, name }) => region !== key.region || name !== key.awsKeyName);
  const used = key.machines.flatMap(({ name, lastUsed }) =>
    lastUsed === undefined ? [] : [[name, lastUsed]],
  );
  return {
    name: key.name,
    profile: key.name,
    aws_key_name: key.awsKeyName ?? null,
    aws_key_names: Object.fromEntries(further.map(({ region, name }) => [region, name])),
    region: key.region ?? null,
    instances: [...new Set(key.machines.map(({ name }) => name))],
    machines: key.machines.map(machineEntry),
    last_used: Object.fromEntries(used),
    rotation: rotationEntry(key.rotation),
    created_at: key.createdAt,
    type: key.type,
  };
}
