/**
 * What AWS shows of a host key, and what follows from it.
 *
 * An instance prints its host keys to its console on first boot, where AWS keeps them. Whoever sits in the
 * network cannot write there; whoever is root on the instance can, later: so only the first block counts.
 */
import type { HostKey } from '../ssh/hostkey.ts';
import { isElsewhere, type Pin, type Place } from './pin.ts';

/** The host keys of a console's first block. */
export interface ConsoleKeys {
  readonly keys: readonly { readonly type: string; readonly fingerprint: string }[];
  /** The output begins where the machine began: nothing earlier has scrolled out of it. */
  readonly startsAtBoot: boolean;
}

/** What AWS says of an instance; parts are absent where it did not say. */
export interface InstanceFacts {
  readonly instance: string;
  readonly account?: string | undefined;
  readonly region?: string | undefined;
  readonly owner?: string | undefined;
  /** ISO 8601. */
  readonly launchedAt?: string | undefined;
}

export interface Evidence {
  readonly console: ConsoleFinding;
  /** Undefined where AWS did not say. */
  readonly current: InstanceFacts | undefined;
  /** Whether the instance that the old key was pinned on is gone; undefined where AWS did not say. */
  readonly oldIsGone: boolean | undefined;
  /** The caller's own owner tag, by Mint's rule. */
  readonly callersOwner: string | undefined;
}

export type ConsoleFinding =
  | { readonly kind: 'shown'; readonly startsAtBoot: boolean }
  /** The console shows another key of the same type. */
  | { readonly kind: 'differs'; readonly fingerprint: string }
  /** `why` in words, for a person: not there yet, denied, no key of that type. */
  | { readonly kind: 'silent'; readonly why: string };

/** Compares like with like: a key is held against the console's key of its own type. */
export function findInConsole(console: ConsoleKeys | undefined, key: HostKey): ConsoleFinding {
  if (console === undefined || console.keys.length === 0) {
    return { kind: 'silent', why: 'the console output shows no host keys, at least not yet' };
  }
  const shown = console.keys.find(({ type }) => type === key.type);
  if (shown === undefined) return { kind: 'silent', why: `the console output shows no ${key.type} key` };
  if (shown.fingerprint === key.fingerprint) return { kind: 'shown', startsAtBoot: console.startsAtBoot };
  return { kind: 'differs', fingerprint: shown.fingerprint };
}

/**
 * The likely cause of a changed key, in sentences for a person. What is not known is said to be unknown; an
 * instance that is the same as before gets no excuse.
 */
export function likelyCause(vm: string, pinned: Pin, evidence: Evidence, now: number): string[] {
  const { current, console } = evidence;
  const sentences: string[] = [];
  if (pinned.instance === undefined) {
    sentences.push('On which instance the old key was pinned is not known.');
  } else if (current === undefined) {
    sentences.push(`The old key was pinned on ${pinned.instance}; AWS did not say what is behind ${vm} now.`);
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
    sentences.push(`AWS's console output of ${where} shows ANOTHER key: ${console.fingerprint}.`);
  } else sentences.push(`AWS cannot confirm the key: ${console.why}.`);
  return sentences;
}

/**
 * Whether the evidence may answer for the person (`accept_changed = "console"`): only if all of it holds.
 * Each condition shuts out someone: who swaps a key on a machine that lives, who tags a machine of his own,
 * who lets an old console scroll away, who restarts a machine that was pinned before.
 */
export function isStrict(pinned: Pin, { console, current, oldIsGone, callersOwner }: Evidence): boolean {
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
