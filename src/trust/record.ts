/**
 * Our own record of a VM, `hosts/<vm>.json`: its pinned keys with their evidence, the host keys that its instance
 * printed to the console, and the keys that were refused. Mint's file cannot hold any of these.
 *
 * Version 2. A record of version 1 had one key, one refused key and flat fields; it is read as a set of one key and
 * written back in the new form at the next change. Fields that we do not know are kept.
 */
import { MintError } from '../errors.ts';
import { quoted, readPrivateFile } from '../platform/files.ts';
import { type HostKey, parseHostKey } from '../ssh/hostkey.ts';
import { isFingerprint } from './known-hosts.ts';
import {
  type ConsoleBlock,
  type ConsoleKey,
  type Evidence,
  evidences,
  type Pin,
  type PinnedKey,
  type Place,
  type Refusal,
  refusalReasons,
} from './pin.ts';

/** The place is where the keys were seen last. */
export interface TrustRecord extends Place {
  /** Empty where nothing is pinned. */
  readonly keys: readonly PinnedKey[];
  readonly lastLogin: string | undefined;
  readonly console: ConsoleBlock | undefined;
  /** The newest first. */
  readonly refused: readonly Refusal[];
  readonly unknown: Readonly<Record<string, unknown>>;
}

export const emptyRecord: TrustRecord = {
  keys: [],
  lastLogin: undefined,
  console: undefined,
  refused: [],
  unknown: {},
};

const version = 2;
const maxRecordBytes = 256 * 1024;
/** How many refused keys are kept. */
export const maxRefused = 16;
const maxRecordKeys = 64;

/**
 * @returns undefined if the file does not exist
 * @throws MintError `known-hosts-corrupt` when it is not what we wrote, `io-failed` when a newer version
 *   wrote it; those of `readPrivateFile`
 */
export function readRecord(path: string): TrustRecord | undefined {
  const bytes = readPrivateFile(path, { maxBytes: maxRecordBytes, tooLarge: 'known-hosts-corrupt' });
  return bytes === undefined ? undefined : parseRecord(bytes.toString('utf8'), path);
}

/** The pinned keys, each with what the record knows of the VM. */
export function pinsOf({ keys, instance, account, region, lastLogin }: TrustRecord): Pin[] {
  return keys.map((key) => ({ ...key, instance, account, region, lastLogin }));
}

/** The inverse of `parseRecord`. */
export function formatRecord(record: TrustRecord): string {
  const { keys, instance, account, region, lastLogin, console, refused, unknown } = record;
  const base64 = (key: HostKey | undefined) => key?.blob.toString('base64');
  const fields = {
    ...unknown,
    version,
    keys: keys.map((pinned) => ({ ...pinned, key: base64(pinned.key) })),
    instance,
    account,
    region,
    lastLogin,
    console: console && {
      ...console,
      keys: console.keys.map((shown) => ({ ...shown, key: base64(shown.key) })),
    },
    refused: refused.map((refusal) => ({
      ...refusal,
      key: base64(refusal.key),
      type: refusal.key.type,
      fingerprint: refusal.key.fingerprint,
    })),
  };
  return `${JSON.stringify(fields, undefined, 2)}\n`;
}

/** @throws MintError as `readRecord`, naming `path` and the field */
export function parseRecord(text: string, path: string): TrustRecord {
  const fields = new Fields(parseObject(text, path), path);
  const found = fields.take('version');
  if (found === 1) return parseFirstVersion(fields);
  if (found !== version) {
    if (typeof found !== 'number' || found < version) throw corrupt(path, 'has no version');
    // Not damage: replacing it would lose what the newer one knows.
    throw new MintError('io-failed', `${quoted(path)} was written by a newer mint-ssh (version ${found})`, {
      hint: 'install that version again',
    });
  }
  const console = fields.take('console');
  return {
    keys: fields.list('keys').map(readPinned),
    ...readPlace(fields),
    lastLogin: fields.text('lastLogin'),
    console: console === undefined ? undefined : readConsole(fields.object('console', console)),
    refused: fields.list('refused').map((refusal) => readRefusal(refusal)),
    unknown: fields.rest,
  };
}

const firstVersionEvidence: ReadonlyMap<string, Evidence> = new Map([
  ['stream-binding', 'first-use'],
  ['client', 'first-use'],
  ['console', 'console'],
  ['accepted', 'accepted'],
]);

/** Version 1: one key, with its fields and place in the object itself; `consoleShows` was another key that AWS showed. */
function parseFirstVersion(fields: Fields): TrustRecord {
  const { path } = fields;
  const refused = fields.take('refused');
  const place = readPlace(fields);
  const lastLogin = fields.text('lastLogin');
  const shown = fields.text('consoleShows');
  const proof = fields.text('proof');
  const evidence = proof === undefined ? undefined : firstVersionEvidence.get(proof);
  if (proof !== undefined && evidence === undefined) throw corrupt(path, 'has an unknown "proof"');
  const pinned = readPinnedKey(fields, evidence);
  if (pinned === undefined && [place.instance, lastLogin, shown, proof].some((one) => one !== undefined)) {
    throw corrupt(path, 'has no fingerprint');
  }
  const { instance } = place;
  return {
    keys: pinned === undefined ? [] : [pinned],
    ...place,
    lastLogin,
    console:
      shown === undefined || instance === undefined || !isFingerprint(shown)
        ? undefined
        : {
            instance,
            keys: [{ type: pinned?.type ?? 'ssh-ed25519', fingerprint: shown }],
            isWhole: false,
          },
    refused:
      refused === undefined
        ? []
        : [readRefusal(fields.object('refused', refused), { reason: 'changed' as const })],
    unknown: fields.rest,
  };
}

function readPinned(fields: Fields): PinnedKey {
  const text = fields.text('evidence');
  const evidence = evidences.find((known) => known === text);
  if (evidence === undefined && text !== undefined) throw corrupt(fields.path, 'has an unknown "evidence"');
  const pinned = readPinnedKey(fields, evidence);
  if (pinned === undefined) throw corrupt(fields.path, 'has a key without a fingerprint');
  return pinned;
}

function readPinnedKey(fields: Fields, evidence: Evidence | undefined): PinnedKey | undefined {
  const { path } = fields;
  const fingerprint = fields.text('fingerprint');
  const key = fields.key();
  const type = fields.text('type');
  const [firstSeen, pinnedAt] = [fields.text('firstSeen'), fields.text('pinnedAt')];
  if (fingerprint === undefined) {
    if ([key, type, firstSeen, pinnedAt].every((one) => one === undefined)) return undefined;
    throw corrupt(path, 'has no fingerprint');
  }
  if (!isFingerprint(fingerprint)) throw corrupt(path, 'has a malformed fingerprint');
  if (key !== undefined && (key.fingerprint !== fingerprint || key.type !== type)) {
    throw corrupt(path, 'has a key that does not match its fingerprint and type');
  }
  return { fingerprint, key, type, evidence, firstSeen, pinnedAt };
}

/** @param first what a record of version 1 does not say */
function readRefusal(fields: Fields, first?: Pick<Refusal, 'reason'>): Refusal {
  const key = fields.key();
  const seenAt = fields.text('seenAt');
  const text = fields.text('reason');
  const reason = refusalReasons.find((known) => known === text) ?? first?.reason;
  if (key === undefined || seenAt === undefined || reason === undefined) {
    throw corrupt(fields.path, 'has a "refused" without key, date or reason');
  }
  return { key, reason, seenAt, ...readPlace(fields) };
}

function readConsole(fields: Fields): ConsoleBlock {
  const instance = fields.text('instance');
  const isWhole = fields.take('isWhole');
  if (instance === undefined || typeof isWhole !== 'boolean') {
    throw corrupt(fields.path, 'has a "console" without an instance');
  }
  return { instance, keys: fields.list('keys').map(readConsoleKey), isWhole };
}

function readConsoleKey(fields: Fields): ConsoleKey {
  const [type, fingerprint, key] = [fields.text('type'), fields.text('fingerprint'), fields.key()];
  const isSame = key === undefined || (key.fingerprint === fingerprint && key.type === type);
  if (type === undefined || fingerprint === undefined || !isFingerprint(fingerprint) || !isSame) {
    throw corrupt(fields.path, 'has a malformed key in "console"');
  }
  return { type, fingerprint, key };
}

function readPlace(fields: Fields): Place {
  return {
    instance: fields.text('instance'),
    account: fields.text('account'),
    region: fields.text('region'),
  };
}

/** An object of the file. Fields are taken out of it, so that what is left at the end is what we do not know. */
class Fields {
  readonly path: string;
  readonly rest: Record<string, unknown>;

  constructor(fields: Record<string, unknown>, path: string) {
    this.rest = { ...fields };
    this.path = path;
  }

  take(name: string): unknown {
    const value = this.rest[name];
    delete this.rest[name];
    return value;
  }

  text(name: string): string | undefined {
    const value = this.take(name);
    if (value === undefined || typeof value === 'string') return value;
    throw corrupt(this.path, `has a "${name}" that is not a string`);
  }

  key(): HostKey | undefined {
    const text = this.text('key');
    if (text === undefined) return undefined;
    const blob = Buffer.from(text, 'base64');
    // Buffer skips what is not base64; only what it would write itself is a key of ours.
    if (blob.toString('base64') !== text) throw corrupt(this.path, 'has a "key" that is not base64');
    try {
      return parseHostKey(blob);
    } catch (cause) {
      throw corrupt(this.path, 'has a "key" that is not a host key', cause);
    }
  }

  list(name: string): Fields[] {
    const value = this.take(name) ?? [];
    if (!Array.isArray(value) || value.length > maxRecordKeys) {
      throw corrupt(this.path, `has a "${name}" that is not a list`);
    }
    return value.map((one) => this.object(name, one));
  }

  object(name: string, value: unknown): Fields {
    if (!isObject(value)) throw corrupt(this.path, `has a "${name}" that is not an object`);
    return new Fields(value, this.path);
  }
}

function parseObject(text: string, path: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw corrupt(path, 'is not JSON', cause);
  }
  if (!isObject(value)) throw corrupt(path, 'is not a JSON object');
  return value;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function corrupt(path: string, what: string, cause?: unknown): MintError {
  return new MintError('known-hosts-corrupt', `${quoted(path)} ${what}`, {
    hint: 'if you did not change it, find out who did; `mint-ssh hosts forget VM` removes it and the pin',
    cause,
  });
}
