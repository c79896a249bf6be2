/**
 * `metadata.json`: what is known of each key besides the key itself. Other programs write this file too, so
 * every field that is not ours is kept as it stands.
 */

import { MintError } from '../../errors.ts';
import { quoted } from '../../platform/files.ts';
import { isKeyName } from './profile-name.ts';
import { parseRotation, type Rotation } from './rotation-state.ts';

export type JsonObject = Readonly<Record<string, unknown>>;

/** One key, as the file says. */
export interface KeyRecord {
  /** Also the name of its file. */
  readonly name: string;
  /** As it was written when the key was made. */
  readonly profile: string;
  readonly region: string | undefined;
  /** Its name in EC2, in the region above. */
  readonly awsKeyName: string | undefined;
  /** Its names in further regions, by region. */
  readonly awsKeyNames: Readonly<Record<string, string>>;
  /** ISO 8601. */
  readonly createdAt: string;
  /** `ed25519`, `rsa-2048`, `ecdsa-p256` … */
  readonly type: string;
  /** The instances that let it in. */
  readonly instances: readonly string[];
  /** When each of them was last logged in to with it, in ISO 8601. */
  readonly lastUsed: Readonly<Record<string, string>>;
  /** A rotation that is not finished. */
  readonly rotation: Rotation | undefined;
}

export interface Metadata {
  readonly keys: readonly KeyRecord[];
  /** The same, each as it stands in the file. */
  readonly entries: Readonly<Record<string, JsonObject | undefined>>;
  /** The file as it was read. */
  readonly whole: JsonObject;
}

const version = '1.0';

export const emptyMetadata: Metadata = { keys: [], entries: {}, whole: { keys: {}, version } };

/** Not yet in TypeScript's library. A number that does not survive being read is kept as its digits. */
const exact = JSON as unknown as {
  parse(
    text: string,
    reviver: (key: string, value: unknown, context: { readonly source?: string }) => unknown,
  ): unknown;
  rawJSON(text: string): unknown;
  isRawJSON(value: unknown): boolean;
};

/** @throws MintError `key-store` for a file that is broken or of another version */
export function parseMetadata(text: string): Metadata {
  const whole = parseJson(text);
  if (!isObject(whole)) throw broken('is not a JSON object');
  if (typeof whole['version'] !== 'string') throw broken('does not name its version');
  if (whole['version'] !== version) {
    throw new MintError(
      'key-store',
      `metadata.json is of version ${quoted(whole['version'].slice(0, 20))}, and this program knows ${version}`,
      { hint: 'use the mint-ssh that wrote it, or a later one' },
    );
  }
  // A program in Go writes null for what is empty.
  const keys = whole['keys'] ?? {};
  if (!isObject(keys)) throw broken('has "keys" that are no object');
  const records = Object.entries(keys).map(([name, entry]) => keyRecord(name, entry));
  return { keys: records, entries: keys as Metadata['entries'], whole };
}

/** The text of the file with this entry in place of the key's own, or without it. */
export function metadataWith(
  { entries, whole }: Metadata,
  name: string,
  entry: JsonObject | undefined,
): string {
  const keys: Record<string, unknown> = { ...entries };
  if (entry === undefined) delete keys[name];
  else keys[name] = entry;
  return `${JSON.stringify({ ...whole, keys }, undefined, 2)}\n`;
}

/** What is known of a key when it is taken in. */
export type NewKey = Omit<KeyRecord, 'name' | 'awsKeyNames' | 'lastUsed' | 'rotation'>;

/** The entry of a new key; a key without a region has empty words in their place. */
export function newEntry(record: NewKey): JsonObject {
  return {
    aws_key_name: record.awsKeyName ?? '',
    profile: record.profile,
    region: record.region ?? '',
    created_at: record.createdAt,
    type: record.type,
    instances: record.instances,
  };
}

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !exact.isRawJSON(value);
}

function parseJson(text: string): unknown {
  try {
    return exact.parse(text, (_key, value, { source }) =>
      typeof value === 'number' && source !== undefined && String(value) !== source
        ? exact.rawJSON(source)
        : value,
    );
  } catch (cause) {
    throw broken('is not JSON', cause);
  }
}

function keyRecord(name: string, entry: unknown): KeyRecord {
  if (!isKeyName(name)) throw broken(`names a key ${quoted(name.slice(0, 40))}, which none may have`);
  if (!isObject(entry)) throw broken(`says nothing of ${name}`);
  const word = (field: string): string => {
    const value = entry[field] ?? '';
    if (typeof value !== 'string') throw broken(`has no text as ${field} of ${name}`);
    return value;
  };
  const instances = entry['instances'] ?? [];
  if (!Array.isArray(instances) || !instances.every((one) => typeof one === 'string')) {
    throw broken(`has no list of names as instances of ${name}`);
  }
  const words = (field: string, what: string): Readonly<Record<string, string>> => {
    const found = entry[field] ?? {};
    const isRight = isObject(found) && Object.values(found).every((one) => typeof one === 'string');
    if (!isRight) throw broken(`has no ${what} as ${field} of ${name}`);
    return found as Readonly<Record<string, string>>;
  };
  const rotation = parseRotation(entry['rotation']);
  if (rotation === 'broken') throw broken(`has a rotation of ${name} that is none`);
  return {
    name,
    profile: word('profile') || name,
    region: word('region') || undefined,
    awsKeyName: word('aws_key_name') || undefined,
    awsKeyNames: words('aws_key_names', 'names by region'),
    createdAt: word('created_at'),
    type: word('type'),
    instances,
    lastUsed: words('last_used', 'times by instance'),
    rotation,
  };
}

function broken(what: string, cause?: unknown): MintError {
  return new MintError('key-store', `metadata.json ${what}`, {
    hint: '`mint-ssh keys doctor` puts it aside and makes it anew from the keys that are there',
    cause,
  });
}
