/** The values that the trust store takes and returns. A VM's pin is a set of keys, usually one of each type. */
import type { HostKey } from '../ssh/hostkey.ts';

/** Where a key was seen. A part is undefined if AWS was not asked. */
export interface Place {
  readonly instance?: string | undefined;
  readonly account?: string | undefined;
  readonly region?: string | undefined;
}

/** A host key that a VM's server presented in one of our connections. */
export interface Sighting extends Place {
  /** The VM's name, in lower case. */
  readonly vm: string;
  readonly key: HostKey;
}

export const evidences = ['console', 'job', 'accepted', 'proved', 'first-use'] as const;

/**
 * Why a key is trusted. `console`: the console of the instance lists it. `job`: `job begin` generated it for the VM's user
 * data. `accepted`: the user accepted it. `proved`: a host with a pinned key proved inside a session that it owns this
 * one too (`UpdateHostKeys`). `first-use`: it was the first key, and its server proved that it owns it.
 */
export type Evidence = (typeof evidences)[number];

/** The key type in Mint's file, which the generated ssh_config requests first. */
export const mintType = 'ssh-ed25519';

/** One key of a pin. Dates are ISO 8601, in UTC. */
export interface PinnedKey {
  readonly fingerprint: string;
  /** Undefined until the key has been seen: Mint's line and `hosts accept` have only a fingerprint. */
  readonly key?: HostKey | undefined;
  readonly type?: string | undefined;
  /** Undefined for a key that Mint pinned. */
  readonly evidence?: Evidence | undefined;
  readonly firstSeen?: string | undefined;
  readonly pinnedAt?: string | undefined;
}

/** A pinned key with the known facts about its VM. */
export interface Pin extends PinnedKey, Place {
  readonly lastLogin?: string | undefined;
}

/** Why a key was refused: another key of its type is pinned, AWS shows other keys, or only other types are pinned. */
export const refusalReasons = ['changed', 'unverified', 'type'] as const;
export type RefusalReason = (typeof refusalReasons)[number];

/** A key that was refused, until the user accepts it. */
export interface Refusal extends Place {
  readonly key: HostKey;
  readonly reason: RefusalReason;
  readonly seenAt: string;
}

/** A key that an instance printed to its console. `key` is undefined if only the fingerprint was printed. */
export interface ConsoleKey {
  readonly type: string;
  readonly fingerprint: string;
  readonly key?: HostKey | undefined;
}

/** The host keys that an instance printed to its console when it booted for the first time. */
export interface ConsoleBlock {
  readonly instance: string;
  readonly keys: readonly ConsoleKey[];
  /** Whether every line could be read. Other keys are then not the VM's. */
  readonly isWhole: boolean;
}

/** @returns whether both instances are known and differ */
export function isAnotherInstance(one: Place, other: Place): boolean {
  return one.instance !== undefined && other.instance !== undefined && one.instance !== other.instance;
}

/** @returns whether the VM is in another AWS account or region: not a recreated VM, but another one of that name */
export function isElsewhere(pinned: Place, { account, region }: Place): boolean {
  const differs = (one: string | undefined, other: string | undefined) =>
    one !== undefined && other !== undefined && one !== other;
  return differs(pinned.account, account) || differs(pinned.region, region);
}

/** @returns only the known parts, so that the others do not overwrite the record */
export function knownPart({ instance, account, region }: Place): Place {
  const known = Object.entries({ instance, account, region }).filter(([, value]) => value !== undefined);
  return Object.fromEntries(known);
}
