/** The values that the store takes and gives. */
import type { HostKey } from '../ssh/hostkey.ts';

/** Which instance it was; each part is unknown where AWS was not asked. */
export interface Place {
  readonly instance?: string | undefined;
  readonly account?: string | undefined;
  readonly region?: string | undefined;
}

/** A host key that a VM's server presented in a connection of ours. */
export interface Sighting extends Place {
  /** The VM's name, in lower case. */
  readonly vm: string;
  readonly key: HostKey;
}

export const proofs = ['stream-binding', 'client', 'console', 'accepted'] as const;

/**
 * How a pin came to be trusted: the agent verified the host's signature itself; the client went on after its
 * NEWKEYS; AWS's console output showed the key; a person accepted it.
 */
export type Proof = (typeof proofs)[number];

/** A trusted key. Only the fingerprint is known of a line that Mint wrote. Dates are ISO 8601, in UTC. */
export interface Pin extends Place {
  readonly fingerprint: string;
  readonly key?: HostKey | undefined;
  readonly type?: string | undefined;
  readonly proof?: Proof | undefined;
  readonly firstSeen?: string | undefined;
  readonly pinnedAt?: string | undefined;
  readonly lastLogin?: string | undefined;
  /** The fingerprint that AWS's console output shows for this type where it is another one. */
  readonly consoleShows?: string | undefined;
}

/** The last key that was refused: another one is pinned, or AWS shows another one. */
export interface Refusal extends Place {
  readonly key: HostKey;
  readonly seenAt: string;
}

/** Unknown instances may be the same one: only two known ones that differ are a new VM behind an old name. */
export function isAnotherInstance(pinned: Pin, { instance }: Sighting): boolean {
  return pinned.instance !== undefined && instance !== undefined && pinned.instance !== instance;
}

/** Known to be in another AWS account or region: not the VM made anew, but another one of that name. */
export function isElsewhere(pinned: Place, { account, region }: Place): boolean {
  const differs = (one: string | undefined, other: string | undefined) =>
    one !== undefined && other !== undefined && one !== other;
  return differs(pinned.account, account) || differs(pinned.region, region);
}

/** Whether the record has all that the sighting could add. */
export function isComplete(pinned: Pin, { key, instance, account, region }: Sighting): boolean {
  const adds = (value: string | undefined, known: string | undefined) =>
    value !== undefined && value !== known;
  return (
    pinned.key?.blob.equals(key.blob) === true &&
    !adds(instance, pinned.instance) &&
    !adds(account, pinned.account) &&
    !adds(region, pinned.region)
  );
}

/** Without the parts that are not known, so that they do not hide what is. */
export function knownPart(place: Place): Place {
  return Object.fromEntries(Object.entries(place).filter(([, value]) => value !== undefined));
}
