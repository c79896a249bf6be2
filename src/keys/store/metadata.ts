/**
 * `metadata.json`: the list of keys, in the format that CloudWorkstation and Prism write. Those programs rewrite the
 * whole file and drop every field they do not know, so our own fields are in another file (own-state.ts). Fields
 * that mint-ssh does not know are written back unchanged.
 */

import { printable } from '../../cli/terminal.ts';
import { MintError } from '../../errors.ts';
import { quoted } from '../../platform/files.ts';
import { isKeyName } from './profile-name.ts';

export type JsonObject = Readonly<Record<string, unknown>>;

/** The entry of one key. */
export interface MetadataEntry {
  /** Also the name of its file. */
  readonly name: string;
  readonly region: string | undefined;
  /** Its name in EC2, in `region`. */
  readonly awsKeyName: string | undefined;
  /** ISO 8601. */
  readonly createdAt: string;
  /** `ed25519`, `rsa-2048`, `ecdsa-p256` … */
  readonly type: string;
  /** The instances that accept it, by name or ID, as the program that launched them wrote them. */
  readonly instances: readonly string[];
}

/** An entry that mint-ssh cannot use. It is listed with the reason, and never changed. */
export interface UnusableEntry {
  readonly name: string;
  readonly why: string;
}

export interface Metadata {
  readonly keys: readonly MetadataEntry[];
  readonly unusable: readonly UnusableEntry[];
  /** All entries, unparsed. */
  readonly entries: Readonly<Record<string, unknown>>;
  /** The whole file as parsed JSON. */
  readonly whole: JsonObject;
}

const version = '1.0';

export const emptyMetadata: Metadata = { keys: [], unusable: [], entries: {}, whole: { keys: {}, version } };

/** Keeps the digits of a number that JSON.parse would round. TypeScript's library does not declare this yet. */
const exact = JSON as unknown as {
  parse(
    text: string,
    reviver: (key: string, value: unknown, context: { readonly source?: string }) => unknown,
  ): unknown;
  rawJSON(text: string): unknown;
  isRawJSON(value: unknown): boolean;
};

/** A later version wrote a file of the store. A repair does not change that. */
export class LaterStoreVersion extends MintError {}

/** @throws MintError `key-store` for a broken file, LaterStoreVersion for a file of another version */
export function parseMetadata(text: string): Metadata {
  const whole = parseJson(text);
  if (!isObject(whole)) throw broken('is not a JSON object');
  if (typeof whole['version'] !== 'string') throw broken('does not name its version');
  if (whole['version'] !== version) {
    throw new LaterStoreVersion(
      'key-store',
      `metadata.json has version ${quoted(whole['version'].slice(0, 20))}; this mint-ssh supports ${version}`,
      { hint: 'use the mint-ssh that wrote it, or a later one' },
    );
  }
  // A program in Go writes null for an empty map.
  const keys = whole['keys'] ?? {};
  if (!isObject(keys)) throw broken('has "keys" that is not an object');
  const read = Object.entries(keys).map(([name, entry]) => readEntry(name, entry));
  return {
    keys: read.filter((entry): entry is MetadataEntry => !('why' in entry)),
    unusable: read.filter((entry): entry is UnusableEntry => 'why' in entry),
    entries: keys,
    whole,
  };
}

/** @returns the text of the file with the key's entry replaced; undefined for `entry` removes it */
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

/**
 * @returns the fields of an entry. `profile` is the key's safe name, because Prism builds the path of the key's file from
 *   it. A key without a region has empty strings, as in Go
 */
export function entryFields(record: MetadataEntry): JsonObject {
  return {
    aws_key_name: record.awsKeyName ?? '',
    profile: record.name,
    region: record.region ?? '',
    created_at: record.createdAt,
    type: record.type,
    instances: record.instances,
  };
}

/**
 * Recovers the complete entries of `keys` from a truncated file, which a program leaves if it is killed while writing.
 *
 * @returns the text of a valid file with those entries; undefined if there are none
 */
export function salvage(text: string): string | undefined {
  const start = /"keys"\s*:\s*\{/.exec(text);
  if (start === null) return undefined;
  const entries: Record<string, unknown> = {};
  const member = /\s*,?\s*("(?:[^"\\]|\\.)*")\s*:\s*(?=\{)/y;
  member.lastIndex = start.index + start[0].length;
  for (let found = member.exec(text); found !== null; found = member.exec(text)) {
    const end = endOfObject(text, member.lastIndex);
    if (end === undefined) break;
    try {
      entries[JSON.parse(found[1] ?? '')] = parseJson(text.slice(member.lastIndex, end));
    } catch {
      break;
    }
    member.lastIndex = end;
  }
  if (Object.keys(entries).length === 0) return undefined;
  return metadataWith({ ...emptyMetadata, entries }, '', undefined);
}

/** The index after the object that starts at `start`; undefined if it is truncated. */
function endOfObject(text: string, start: number): number | undefined {
  let depth = 0;
  let isInString = false;
  for (let at = start; at < text.length; at += 1) {
    const character = text[at];
    if (isInString) {
      if (character === '\\') at += 1;
      else if (character === '"') isInString = false;
    } else if (character === '"') isInString = true;
    else if (character === '{') depth += 1;
    else if (character === '}') {
      depth -= 1;
      if (depth === 0) return at + 1;
    }
  }
  return undefined;
}

/** Whether a parsed JSON value is an object: neither null, nor a list, nor a number kept as text. */
export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !exact.isRawJSON(value);
}

function parseJson(text: string): unknown {
  try {
    // Some editors of Windows put a byte order mark at the beginning.
    return exact.parse(text.replace(/^\uFEFF/, ''), (_key, value, { source }) =>
      typeof value === 'number' && source !== undefined && String(value) !== source
        ? exact.rawJSON(source)
        : value,
    );
  } catch (cause) {
    throw broken('is not JSON', cause);
  }
}

function readEntry(name: string, entry: unknown): MetadataEntry | UnusableEntry {
  if (!isKeyName(name)) return { name, why: 'the name is not valid in mint-ssh' };
  if (!isObject(entry)) return { name, why: 'its entry in metadata.json is not an object' };
  const wrong = ['aws_key_name', 'region', 'created_at', 'type'].find(
    (field) => typeof (entry[field] ?? '') !== 'string',
  );
  if (wrong !== undefined) return { name, why: `${wrong} in its entry in metadata.json is not a string` };
  const word = (field: string): string => (entry[field] ?? '') as string;
  const instances = entry['instances'] ?? [];
  if (!Array.isArray(instances) || !instances.every((one) => typeof one === 'string')) {
    return { name, why: 'instances in its entry in metadata.json is not a list of names' };
  }
  return {
    name,
    region: word('region') || undefined,
    awsKeyName: word('aws_key_name') || undefined,
    createdAt: word('created_at'),
    type: word('type'),
    instances,
  };
}

/** @returns a name from the file, escaped and shortened for a message or a table */
export function shownName(name: string): string {
  return printable(name.length > 63 ? `${name.slice(0, 62)}…` : name);
}

function broken(what: string, cause?: unknown): MintError {
  return new MintError('key-store', `metadata.json ${what}`, {
    hint: '`mint-ssh keys doctor` keeps a copy and restores what can be read',
    cause,
  });
}
