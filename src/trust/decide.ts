/** The decision about a host key that a server presented: docs/architecture.md, "Host keys", as one function. */
import type { HostKey } from '../ssh/hostkey.ts';
import {
  type ConsoleBlock,
  type ConsoleKey,
  type Evidence,
  isAnotherInstance,
  mintType,
  type Pin,
  type Place,
  type Refusal,
} from './pin.ts';

/** The records of the VM. */
export interface Known {
  /** The pinned keys of the VM; empty if none is pinned. */
  readonly pins: readonly Pin[];
  readonly refused: readonly Refusal[];
}

/** The answer about the console output of the instance. */
export type ConsoleAnswer =
  | { readonly kind: 'not-asked' }
  /** `why`: the reason for the user, such as not yet available, denied, or no answer in time. */
  | { readonly kind: 'silent'; readonly why: string }
  | { readonly kind: 'block'; readonly block: ConsoleBlock };

export type Decision =
  /** The decision depends on the console: ask AWS, then decide again. */
  | { readonly outcome: 'ask-console' }
  | { readonly outcome: 'pinned'; readonly pin: Pin }
  /** Not pinned yet. It is pinned with this evidence once the server has proved that it owns the key. */
  | { readonly outcome: 'new'; readonly evidence: Evidence }
  | { readonly outcome: 'changed'; readonly pin: Pin }
  | Refused;

/** Refused without a prompt. */
export type Refused =
  | { readonly outcome: 'unverified'; readonly shown: readonly ConsoleKey[] }
  | { readonly outcome: 'type-not-pinned'; readonly pins: readonly Pin[]; readonly why: string }
  | { readonly outcome: 'refused-before'; readonly refusal: Refusal }
  /** The console does not list a key that was pinned at first use. */
  | { readonly outcome: 'contradicted'; readonly pin: Pin; readonly shown: readonly ConsoleKey[] };

/**
 * Decides about one presented key. A pure function: it reads no files and makes no calls.
 *
 * @param at the instance that the name refers to now
 */
export function decide(presented: HostKey, at: Place, known: Known, console: ConsoleAnswer): Decision {
  const { pins, refused } = known;
  const { fingerprint, type } = presented;
  const block = console.kind === 'block' ? console.block : undefined;

  // A pin of a first use does not override AWS, whichever key is presented now.
  const denied = block && contradicted(pins, block);
  if (block !== undefined && denied !== undefined) {
    return { outcome: 'contradicted', pin: denied, shown: block.keys };
  }

  const pin = pins.find((one) => one.fingerprint === fingerprint);
  if (pin !== undefined) return { outcome: 'pinned', pin };

  const sameType = pins.find((one) => typeOf(one) === type);
  if (sameType !== undefined) return { outcome: 'changed', pin: sameType };

  const [otherType] = pins;
  if (otherType !== undefined) {
    // Another instance has the name. Its console is evidence for that instance, not for the pinned VM.
    if (isAnotherInstance(otherType, at)) return { outcome: 'changed', pin: otherType };
    if (console.kind === 'not-asked') return { outcome: 'ask-console' };
    const found = search(console, presented);
    if (found.kind === 'listed') {
      const isPinnedVm = otherType.instance === block?.instance || pins.some((one) => lists(block, one));
      return isPinnedVm ? { outcome: 'new', evidence: 'console' } : { outcome: 'changed', pin: otherType };
    }
    if (found.kind === 'not-listed') return { outcome: 'unverified', shown: block?.keys ?? [] };
    return { outcome: 'type-not-pinned', pins, why: found.why };
  }

  const refusal = refused.find((one) => one.key.fingerprint === fingerprint && !isAnotherInstance(one, at));
  if (refusal !== undefined) return { outcome: 'refused-before', refusal };

  if (console.kind === 'not-asked') return { outcome: 'ask-console' };
  const found = search(console, presented);
  if (found.kind === 'listed') return { outcome: 'new', evidence: 'console' };
  if (found.kind === 'not-listed') return { outcome: 'unverified', shown: block?.keys ?? [] };
  return { outcome: 'new', evidence: 'first-use' };
}

/** @returns the key's type; a key with only a fingerprint counts as Mint's, which is an ed25519 key */
export function typeOf({ type }: { readonly type?: string | undefined }): string {
  return type ?? mintType;
}

/**
 * @returns the first pinned key whose only evidence is its first use (ours or Mint's) and which the console of the same
 *   instance does not list
 */
export function contradicted(pins: readonly Pin[], block: ConsoleBlock): Pin | undefined {
  return pins.find(
    (pin) =>
      (pin.evidence === 'first-use' || pin.evidence === undefined) &&
      pin.instance === block.instance &&
      lookUp(block, { fingerprint: pin.fingerprint, type: typeOf(pin) }).kind === 'not-listed',
  );
}

type Found =
  | { readonly kind: 'listed' }
  | { readonly kind: 'not-listed' }
  | { readonly kind: 'silent'; readonly why: string };

/** @returns whether a console block lists the key */
export function lookUp(
  { keys, isWhole }: ConsoleBlock,
  { fingerprint, type }: { readonly fingerprint: string; readonly type: string },
): Found {
  if (keys.some((key) => key.fingerprint === fingerprint)) return { kind: 'listed' };
  if (isWhole || keys.some((key) => key.type === type)) return { kind: 'not-listed' };
  return { kind: 'silent', why: 'a part of the host keys in the console output cannot be read' };
}

function search(console: Exclude<ConsoleAnswer, { kind: 'not-asked' }>, key: HostKey): Found {
  return console.kind === 'block' ? lookUp(console.block, key) : console;
}

function lists(block: ConsoleBlock | undefined, { fingerprint }: Pin): boolean {
  return block?.keys.some((key) => key.fingerprint === fingerprint) ?? false;
}
