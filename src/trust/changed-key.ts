/** The evidence of AWS about a changed host key, and the likely cause. */
import type { HostKey } from '../ssh/hostkey.ts';
import { type ConsoleAnswer, lookUp } from './decide.ts';
import { type ConsoleKey, isElsewhere, type Pin, type Place } from './pin.ts';

/** An instance as AWS returned it; unknown parts are absent. */
export interface InstanceFacts {
  readonly instance: string;
  readonly account?: string | undefined;
  readonly region?: string | undefined;
  readonly owner?: string | undefined;
  /** ISO 8601. */
  readonly launchedAt?: string | undefined;
}

export interface ChangeEvidence {
  readonly console: ConsoleFinding;
  /** Undefined if AWS did not return it. */
  readonly current: InstanceFacts | undefined;
  /** Whether the instance of the old key was terminated; undefined if AWS did not return it. */
  readonly oldIsGone: boolean | undefined;
  /** The caller's owner tag, by Mint's rule. */
  readonly callersOwner: string | undefined;
}

/** Whether the console lists a key. */
export type ConsoleFinding =
  | { readonly kind: 'shown'; readonly startsAtBoot: boolean }
  /** The console lists the instance's host keys, and this is not one of them. */
  | { readonly kind: 'differs'; readonly shown: readonly ConsoleKey[] }
  /** `why`: the reason for the user, such as not yet available, or denied. */
  | { readonly kind: 'silent'; readonly why: string };

/** @param startsAtBoot whether nothing earlier can have scrolled out of the console's output */
export function findingOf(console: ConsoleAnswer, key: HostKey, startsAtBoot: boolean): ConsoleFinding {
  if (console.kind === 'not-asked') return { kind: 'silent', why: 'AWS was not asked' };
  if (console.kind === 'silent') return console;
  const found = lookUp(console.block, key);
  if (found.kind === 'silent') return found;
  return found.kind === 'listed'
    ? { kind: 'shown', startsAtBoot }
    : { kind: 'differs', shown: console.block.keys };
}

/** @returns the listed key that the user probably wants: one of the same type, else Mint's */
export function closest(shown: readonly ConsoleKey[], type: string): ConsoleKey | undefined {
  const ofType = (wanted: string) => shown.find((key) => key.type === wanted);
  return ofType(type) ?? ofType('ssh-ed25519') ?? shown[0];
}

/**
 * The likely cause of a changed key, in sentences for the user. What is not known is called unknown; an
 * instance that is the same as before gets no excuse.
 */
export function likelyCause(
  vm: string,
  pinned: Pin,
  evidence: ChangeEvidence,
  now: number,
  presentedType = 'ssh-ed25519',
): string[] {
  const { current, console } = evidence;
  const sentences: string[] = [];
  if (pinned.instance === undefined) {
    sentences.push('The instance of the old key is unknown.');
  } else if (current === undefined) {
    sentences.push(
      `The old key was pinned on ${pinned.instance}; AWS did not return the instance of ${vm} now.`,
    );
  } else if (current.instance === pinned.instance) {
    sentences.push(
      `The instance behind ${vm} is the one the old key was pinned on, ${current.instance}: ` +
        'a host key does not change by itself.',
    );
  } else if (isElsewhere(pinned, current)) {
    const described = ({ instance, account = 'an unknown account', region }: Place) =>
      `${instance} in ${account}${region === undefined ? '' : ` (${region})`}`;
    sentences.push(
      `Two VMs are called ${vm}: the pinned key is the one of ${described(pinned)}, and this is ${described(current)}.`,
    );
  } else {
    const age = current.launchedAt === undefined ? '' : `, launched ${ago(current.launchedAt, now)}`;
    sentences.push(
      `The instance behind ${vm} is a new one: ${pinned.instance} -> ${current.instance}${age}.`,
    );
  }
  const where = current === undefined ? 'the instance' : current.instance;
  if (console.kind === 'shown') sentences.push(`AWS's console output of ${where} shows this key.`);
  else if (console.kind === 'differs') {
    const other = closest(console.shown, presentedType);
    sentences.push(
      `AWS's console output of ${where} shows ANOTHER key: ${other?.fingerprint ?? 'none of this type'}.`,
    );
  } else sentences.push(`AWS cannot confirm the key: ${console.why}.`);
  return sentences;
}

/**
 * Decides whether the evidence suffices instead of the user (`accept_changed = "console"`). All conditions must hold. Each
 * one excludes an attacker: one who replaces the key of a running machine, one who tags their own machine, one who lets an
 * old console scroll away, one who restarts a machine that was pinned before.
 */
export function isStrict(
  pinned: Pin,
  { console, current, oldIsGone, callersOwner }: ChangeEvidence,
): boolean {
  if (console.kind !== 'shown' || !console.startsAtBoot) return false;
  if (current === undefined || pinned.instance === undefined || current.instance === pinned.instance)
    return false;
  if (oldIsGone !== true) return false;
  const isSame = (one: string | undefined, other: string | undefined) => one !== undefined && one === other;
  if (!isSame(current.account, pinned.account) || !isSame(current.region, pinned.region)) return false;
  if (!isSame(current.owner, callersOwner)) return false;
  if (current.launchedAt === undefined || pinned.lastLogin === undefined) return false;
  return Date.parse(current.launchedAt) > Date.parse(pinned.lastLogin);
}

function ago(date: string, now: number): string {
  const minutes = Math.floor((now - Date.parse(date)) / 60_000);
  if (!Number.isFinite(minutes) || minutes < 0) return 'at an unknown time';
  if (minutes < 1) return 'less than a minute ago';
  if (minutes < 120) return minutes === 1 ? 'a minute ago' : `${minutes} minutes ago`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} hours ago` : `${Math.floor(hours / 24)} days ago`;
}
