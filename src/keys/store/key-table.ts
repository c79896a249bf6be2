/** What `keys list` and `keys show` print. */
import { printable } from '../../cli/terminal.ts';
import type { KeyRecord } from './metadata.ts';

const head = ['KEY', 'PROFILE', 'REGION', 'INSTANCES', 'CREATED', 'TYPE'];

/** For a person; whatever metadata.json holds, nothing in it acts on a terminal. */
export function managedKeyTable(keys: readonly KeyRecord[]): string {
  const rows = [head, ...keys.map(cellsOf)].map((cells) => cells.map(printable));
  const widths = head.map((_, column) => Math.max(...rows.map((cells) => cells[column]?.length ?? 0)));
  const lines = rows.map((cells) => cells.map((cell, at) => cell.padEnd(widths[at] ?? 0)).join('  '));
  return lines.map((line) => line.trimEnd()).join('\n');
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

/** One key, for a person. */
export function managedKeyText(key: KeyRecord, { path, fingerprint, publicKey }: KeyDetails): string {
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
    ['instances', key.instances.join(', ')],
  ];
  return lines.map(([name, value]) => `${`${name}:`.padEnd(13)}${printable(value || '-')}`).join('\n');
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
    created_at: key.createdAt,
    type: key.type,
  };
}
