/** Holding a VM open for a person, until whatever ends it comes first. */
import { setTimeout as sleep } from 'node:timers/promises';
import { MintError } from '../errors.ts';
import type { Connect } from '../keys/remote-file.ts';
import type { Lease } from './lease.ts';
import type { LeaseStore } from './lease-store.ts';
import { watchForEnd } from './vm-session.ts';

/**
 * Why it ends: its time has come, the person inside said so or turned the machine off, `debug end` did, or this process was
 * told to end.
 */
export type Reason = 'time' | 'inside' | 'gone' | 'asked' | 'signal';

export interface Hold {
  readonly lease: Lease;
  readonly connect: Connect;
  readonly store: LeaseStore;
  /** Between two looks into the store, in milliseconds. */
  readonly interval: number;
  /** This process is to end. */
  readonly signal: AbortSignal;
  /** The VM is known to be gone; false where nobody can tell. */
  readonly isGone: () => Promise<boolean>;
  /** The command that ends it from inside is there: the person may be told. */
  readonly ready: () => void;
}

/** Between two tries to reach a VM that was reached before, in milliseconds. */
const pause = 5_000;
/** A clock that jumps shows by then, in milliseconds. */
const tick = 500;

/** @throws MintError where the VM cannot be watched before `ready` */
export async function holdOpen(hold: Hold): Promise<Reason> {
  const done = new AbortController();
  const signal = AbortSignal.any([done.signal, hold.signal]);
  try {
    return await Promise.race([untilTime(hold, signal), untilAsked(hold, signal), untilInside(hold, signal)]);
  } finally {
    done.abort();
  }
}

/** The wall clock or the monotonic one, whichever is further: neither alone counts a laptop's sleep and a clock set back. */
async function untilTime({ lease, signal: ended }: Hold, signal: AbortSignal): Promise<Reason> {
  const end = performance.now() + (lease.endsAt - Date.now());
  while (Date.now() < lease.endsAt && performance.now() < end) {
    if (signal.aborted) return ended.aborted ? 'signal' : 'time';
    await rest(Math.min(tick, Math.max(1, lease.endsAt - Date.now())), signal);
  }
  return 'time';
}

/** A store that is out of reach for a while ends nothing: the time does. */
async function untilAsked({ lease, store, interval }: Hold, signal: AbortSignal): Promise<Reason> {
  for (;;) {
    await rest(interval, signal);
    if (signal.aborted) return await never();
    const found = await store.find(lease.id).catch(() => lease);
    // Gone: someone has destroyed the VM already.
    if (found === undefined || ('isToEnd' in found && (found.isToEnd || found.endingUntil !== undefined)))
      return 'asked';
  }
}

async function untilInside(
  { lease, connect, isGone, ready: announce }: Hold,
  signal: AbortSignal,
): Promise<Reason> {
  let isReady = false;
  const ready = () => {
    if (!isReady) announce();
    isReady = true;
  };
  for (;;) {
    const seconds = Math.ceil((lease.endsAt - Date.now()) / 1000);
    if (seconds <= 0) return await never();
    const options = { vm: lease.vm, lease: lease.id, seconds, signal };
    const isEnded = await watchForEnd(connect, options, ready).catch((error: unknown) => {
      // A VM that was watched once may be out of reach for a while.
      if (isReady) return false;
      throw error;
    });
    if (isEnded) return 'inside';
    if (signal.aborted) return await never();
    if (!isReady) throw lost(lease);
    if (await isGone().catch(() => false)) return 'gone';
    await rest(pause, signal);
  }
}

function lost({ vm }: Lease): MintError {
  return new MintError('io-failed', `the session on ${vm} broke off before the person was told`, {
    hint: 'what ssh said stands above',
  });
}

function never(): Promise<never> {
  return new Promise(() => {});
}

async function rest(milliseconds: number, signal: AbortSignal): Promise<void> {
  await sleep(milliseconds, undefined, { signal }).catch(() => {});
}
