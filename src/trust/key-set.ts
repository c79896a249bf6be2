/**
 * Functions on a VM's pinned keys as a set: which of them count, which one Mint's file has, and how a console block or an
 * accepted key changes them. They read and write no files.
 */

import { verifiableKeyTypes } from '../ssh/host-key-algorithm.ts';
import type { HostKey } from '../ssh/hostkey.ts';
import { type ConsoleAnswer, contradicted, typeOf } from './decide.ts';
import { maxKeys } from './derived-file.ts';
import type { Finding } from './known-hosts.ts';
import {
  type ConsoleBlock,
  isAnotherInstance,
  mintType,
  type Pin,
  type PinnedKey,
  type Place,
  type Refusal,
  type Sighting,
} from './pin.ts';
import { pinsOf, type TrustRecord } from './record.ts';

/** @returns the keys that count, wherever the VM is now: Mint's line decides */
export function countingKeys(finding: Finding, record: TrustRecord | undefined): readonly PinnedKey[] {
  const keys = record?.keys ?? [];
  if (finding.kind !== 'pin' || keys.some(({ fingerprint }) => fingerprint === finding.fingerprint))
    return keys;
  return [{ fingerprint: finding.fingerprint }];
}

/**
 * If Mint's line is gone and the name refers to another instance than the one on record, Mint removed the line because
 * the VM was recreated.
 *
 * @param read the record in the file
 * @param record the record with the keys that ssh has added and dropped
 * @returns the pins that count for a connection
 */
export function countingPins(
  finding: Finding,
  read: TrustRecord | undefined,
  record: TrustRecord | undefined,
  sighting: Sighting,
): Pin[] {
  if (record === undefined || countingKeys(finding, read) !== read?.keys) {
    return finding.kind === 'pin' ? [{ fingerprint: finding.fingerprint }] : [];
  }
  const isRemoved = finding.kind === 'absent' && hasMintKey(record) && isAnotherInstance(record, sighting);
  return isRemoved ? [] : pinsOf(record);
}

/** Whether the record has a key of the type that has a line in Mint's file. */
export function hasMintKey(record: TrustRecord | undefined): boolean {
  return record?.keys.some((one) => typeOf(one) === mintType) ?? false;
}

/** @returns the fingerprint of the ed25519 key, for Mint's file; while the VM rotates that key, the one in the file */
export function lineFor(keys: readonly PinnedKey[], finding: Finding): string | undefined {
  const fitting = keys.filter((one) => typeOf(one) === mintType).map(({ fingerprint }) => fingerprint);
  if (finding.kind === 'pin' && fitting.includes(finding.fingerprint)) return finding.fingerprint;
  return fitting.at(-1);
}

/**
 * Adds what the console of this instance showed before. A complete block counts from then on, because it cannot change in
 * the life of an instance. A partial one counts if it contradicts the pin, or if AWS does not answer now.
 */
export function withRemembered(
  console: ConsoleAnswer,
  remembered: ConsoleBlock | undefined,
  pins: readonly Pin[],
  { instance }: Sighting,
): ConsoleAnswer {
  if (remembered === undefined || remembered.instance !== instance) return console;
  const answer = { kind: 'block', block: remembered } as const;
  if (remembered.isWhole || console.kind === 'silent') return answer;
  // A record of version 1 kept only the one key that contradicted the pin.
  const isNews = console.kind === 'not-asked' && contradicted(pins, remembered) !== undefined;
  return isNews ? answer : console;
}

/** @returns the block to keep of two: a complete one of an instance is never replaced by a partial one */
export function blockToKeep(known: ConsoleBlock | undefined, shown: ConsoleBlock): ConsoleBlock {
  const isKnown = known?.instance === shown.instance && (known.isWhole || !shown.isWhole);
  return isKnown ? known : shown;
}

/** @returns the pinned keys, with `console` as the evidence of those that the block lists, and the block's keys of other types */
export function withConsoleKeys(keys: readonly PinnedKey[], block: ConsoleBlock): PinnedKey[] {
  const now = new Date().toISOString();
  const isListed = (one: PinnedKey) => block.keys.some(({ fingerprint }) => fingerprint === one.fingerprint);
  const upgraded = keys.map((one): PinnedKey => {
    const isWeaker = one.evidence === undefined || one.evidence === 'first-use' || one.evidence === 'proved';
    return isWeaker && isListed(one) ? { ...one, evidence: 'console' } : one;
  });
  if (!keys.some(isListed)) return upgraded;
  const added = block.keys.filter(({ type }) => !keys.some((one) => typeOf(one) === type));
  return [
    ...upgraded,
    ...added.flatMap(({ key }) =>
      key === undefined || !verifiableKeyTypes.has(key.type)
        ? []
        : [{ ...pinnedKey(key), evidence: 'console' as const, firstSeen: now, pinnedAt: now }],
    ),
  ];
}

/**
 * The record with the keys that a host has proved inside a session (`UpdateHostKeys`), and without those that it no
 * longer offers.
 * @param found the keys of the VM's known-hosts file, which ssh edits
 * @param provisional keys in that file which are not proved yet
 * @returns undefined if nothing has changed, no pinned key is left in the file, or the console contradicts the pin
 */
export function withProved(
  record: TrustRecord,
  found: readonly HostKey[],
  provisional: readonly HostKey[],
): TrustRecord | undefined {
  const has = (keys: readonly { readonly fingerprint: string }[], fingerprint: string) =>
    keys.some((one) => one.fingerprint === fingerprint);
  if (!found.some(({ fingerprint }) => has(record.keys, fingerprint))) return undefined;
  if (record.console !== undefined && contradicted(pinsOf(record), record.console) !== undefined)
    return undefined;
  const added = found.filter(
    ({ fingerprint }) => !has(record.keys, fingerprint) && !has(provisional, fingerprint),
  );
  const kept = record.keys.filter(({ key, fingerprint }) => key === undefined || has(found, fingerprint));
  if (added.length === 0 && kept.length === record.keys.length) return undefined;
  const now = new Date().toISOString();
  const proved = added.map((key) => ({
    ...pinnedKey(key),
    evidence: 'proved' as const,
    firstSeen: now,
    pinnedAt: now,
  }));
  return {
    ...record,
    keys: [...kept, ...proved].slice(0, maxKeys),
    refused: record.refused.filter(({ key }) => !has(added, key.fingerprint)),
  };
}

/** @returns the pinned keys that are kept beside an accepted one */
export function keptBeside(
  accepted: PinnedKey,
  keys: readonly PinnedKey[],
  record: TrustRecord,
  pinned: PinnedKey | undefined,
): PinnedKey[] {
  const { console } = record;
  const isDenied = (some: readonly PinnedKey[]) =>
    console !== undefined && contradicted(pinsOf({ ...record, keys: some }), console) !== undefined;
  // Keys that a host with a contradicted key has proved are dropped with that key.
  if (pinned === undefined && isDenied(keys)) return [];
  return keys.filter(
    (one) => one.fingerprint !== accepted.fingerprint && typeOf(one) !== typeOf(accepted) && !isDenied([one]),
  );
}

/** @returns the key as one of a pin, without evidence and dates */
export function pinnedKey(key: HostKey): { fingerprint: string; key: HostKey; type: string } {
  return { fingerprint: key.fingerprint, key, type: key.type };
}

/** @returns a refused key as one of a pin, first seen when it was refused */
export function seenKey({ key, seenAt }: Refusal): PinnedKey {
  return { ...pinnedKey(key), firstSeen: seenAt };
}

/** @returns the key with this fingerprint in a console block; undefined if the block does not list it */
export function shownKey(console: ConsoleBlock | undefined, fingerprint: string): PinnedKey | undefined {
  const shown = console?.keys.find((one) => one.fingerprint === fingerprint);
  return shown && { fingerprint, key: shown.key, type: shown.type };
}

/** @returns the keys that are known in full; of the others only the fingerprint is known */
export function blobsOf(keys: readonly PinnedKey[]): HostKey[] {
  return keys.flatMap(({ key }) => key ?? []);
}

/** @returns a copy of the keys, with `key` at the end if it is not one of them */
export function withKey(keys: readonly HostKey[], key: HostKey): HostKey[] {
  return keys.some(({ blob }) => blob.equals(key.blob)) ? [...keys] : [...keys, key];
}

/** Whether the files already have everything that a sighting of a pinned key can add. */
export function isComplete(pins: readonly Pin[], { key, ...place }: Sighting, finding: Finding): boolean {
  const pin = pins.find(({ fingerprint }) => fingerprint === key.fingerprint);
  const line = lineFor(pins, finding);
  return (
    pin?.key?.blob.equals(key.blob) === true &&
    line === (finding.kind === 'pin' ? finding.fingerprint : undefined) &&
    !addsPlace(place, pin)
  );
}

/** Whether `place` has a part that is unknown or different in `known`. */
export function addsPlace(place: Place, known: Place): boolean {
  return (['instance', 'account', 'region'] as const).some(
    (part) => place[part] !== undefined && place[part] !== known[part],
  );
}

/** @returns a copy without the fields that are undefined, so that spreading it overwrites nothing with undefined */
export function withoutUndefined(key: PinnedKey): PinnedKey {
  return Object.fromEntries(
    Object.entries(key).filter(([, value]) => value !== undefined),
  ) as unknown as PinnedKey;
}
