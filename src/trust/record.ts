/**
 * Our own record of a VM, `hosts/<vm>.json`: what Mint's file has no room for. It restores a line that a
 * rewrite lost, and tells that from a line that was deleted because the VM is a new one.
 *
 * One flat JSON object: `version`, the fields of `Pin` (the key as base64), and `refused`, the last key that
 * was refused. Fields that we do not know are kept.
 */

import { MintError } from '../errors.ts';
import { quoted, readPrivateFile, writeAtomic } from '../platform/files.ts';
import { type HostKey, parseHostKey } from '../ssh/hostkey.ts';
import { isFingerprint } from './known-hosts.ts';
import { type Pin, type Place, type Proof, proofs, type Refusal } from './pin.ts';

export interface TrustRecord {
  /** Undefined where nothing was pinned yet that we know of. */
  readonly pin: Pin | undefined;
  readonly refused: Refusal | undefined;
  readonly unknown: Readonly<Record<string, unknown>>;
}

export const emptyRecord: TrustRecord = { pin: undefined, refused: undefined, unknown: {} };

const version = 1;
const recordBytes = 64 * 1024;

/**
 * Undefined when there is none.
 * @throws MintError `known-hosts-corrupt` when it is not what we wrote, `io-failed` when a newer version
 *   wrote it; those of `readPrivateFile`
 */
export function readRecord(path: string): TrustRecord | undefined {
  const bytes = readPrivateFile(path, { maxBytes: recordBytes, tooLarge: 'known-hosts-corrupt' });
  return bytes === undefined ? undefined : parseRecord(bytes.toString('utf8'), path);
}

/** What is known of a fingerprint that a person accepts. */
export function knownAs(fingerprint: string, { pin, refused }: TrustRecord): Pin {
  if (pin?.fingerprint === fingerprint) return pin;
  if (refused?.key.fingerprint !== fingerprint) return { fingerprint };
  const { key, seenAt, ...place } = refused;
  return { fingerprint, key, type: key.type, firstSeen: seenAt, ...place };
}

/** The record once this key is trusted: it is no longer one that was refused. */
export function withoutRefusal(record: TrustRecord, fingerprint: string): TrustRecord {
  return record.refused?.key.fingerprint === fingerprint ? { ...record, refused: undefined } : record;
}

/** Replaces the file. @throws MintError `io-failed` */
export function writeRecord(path: string, record: TrustRecord): void {
  writeAtomic(path, formatRecord(record), { mode: 0o600 });
}

/** The inverse of `parseRecord`. */
export function formatRecord({ pin, refused, unknown }: TrustRecord): string {
  const fields = {
    version,
    ...(pin && { ...pin, key: pin.key?.blob.toString('base64') }),
    refused: refused && {
      ...refused,
      key: refused.key.blob.toString('base64'),
      type: refused.key.type,
      fingerprint: refused.key.fingerprint,
    },
    ...unknown,
  };
  return `${JSON.stringify(fields, undefined, 2)}\n`;
}

/** @throws MintError as `readRecord`, naming `path` and the field */
export function parseRecord(text: string, path: string): TrustRecord {
  const { version: found, refused, ...rest } = parseObject(text, path);
  if (found !== version) {
    if (typeof found !== 'number' || found < version) throw corrupt(path, 'has no version');
    // Not damage: replacing it would lose what the newer one knows.
    throw new MintError('io-failed', `${quoted(path)} was written by a newer mint-ssh (version ${found})`, {
      hint: 'install that version again',
    });
  }
  const pin = takePin(rest, path);
  return { pin, refused: refused === undefined ? undefined : readRefusal(refused, path), unknown: rest };
}

function takePin(fields: Record<string, unknown>, path: string): Pin | undefined {
  const text = (name: string) => takeText(fields, name, path);
  const fingerprint = text('fingerprint');
  const details = {
    key: takeKey(fields, path),
    type: text('type'),
    proof: takeProof(fields, path),
    ...takePlace(fields, path),
    firstSeen: text('firstSeen'),
    pinnedAt: text('pinnedAt'),
    lastLogin: text('lastLogin'),
    consoleShows: text('consoleShows'),
  };
  if (fingerprint === undefined) {
    if (Object.values(details).every((value) => value === undefined)) return undefined;
    throw corrupt(path, 'has no fingerprint');
  }
  const { key, type } = details;
  if (!isFingerprint(fingerprint)) throw corrupt(path, 'has a fingerprint that is none');
  if (key !== undefined && (key.fingerprint !== fingerprint || key.type !== type)) {
    throw corrupt(path, 'has a key that is not the one of its fingerprint and type');
  }
  return { fingerprint, ...details };
}

function readRefusal(value: unknown, path: string): Refusal {
  if (!isObject(value)) throw corrupt(path, 'has a "refused" that is no object');
  const fields = { ...value };
  const key = takeKey(fields, path);
  const seenAt = takeText(fields, 'seenAt', path);
  if (key === undefined || seenAt === undefined) throw corrupt(path, 'has a "refused" without key or date');
  return { key, seenAt, ...takePlace(fields, path) };
}

function takePlace(fields: Record<string, unknown>, path: string): Place {
  return {
    instance: takeText(fields, 'instance', path),
    account: takeText(fields, 'account', path),
    region: takeText(fields, 'region', path),
  };
}

/** Takes a field out of `fields`, so that what is left at the end is what we do not know. */
function takeText(fields: Record<string, unknown>, name: string, path: string): string | undefined {
  const value = fields[name];
  delete fields[name];
  if (value === undefined || typeof value === 'string') return value;
  throw corrupt(path, `has a "${name}" that is no text`);
}

function takeProof(fields: Record<string, unknown>, path: string): Proof | undefined {
  const text = takeText(fields, 'proof', path);
  const proof = proofs.find((known) => known === text);
  if (proof === undefined && text !== undefined) throw corrupt(path, 'has an unknown "proof"');
  return proof;
}

function takeKey(fields: Record<string, unknown>, path: string): HostKey | undefined {
  const text = takeText(fields, 'key', path);
  if (text === undefined) return undefined;
  const blob = Buffer.from(text, 'base64');
  // Buffer skips what is not base64; only what it would write itself is a key of ours.
  if (blob.toString('base64') !== text) throw corrupt(path, 'has a "key" that is not base64');
  try {
    return parseHostKey(blob);
  } catch (cause) {
    throw corrupt(path, 'has a "key" that is no host key', cause);
  }
}

function parseObject(text: string, path: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw corrupt(path, 'is not JSON', cause);
  }
  if (!isObject(value)) throw corrupt(path, 'is no JSON object');
  return value;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function corrupt(path: string, what: string, cause?: unknown): MintError {
  return new MintError('known-hosts-corrupt', `${quoted(path)} ${what}`, {
    hint: 'if you did not change it, find out who did; `mint-ssh hosts forget VM` removes it, and the pin with it',
    cause,
  });
}
