/** What can go wrong with the stand-in on request: slow, silent, throttled, failing. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { WireFailureName } from '../../src/demo/wire-failure.ts';

export interface Faults {
  /** Every request waits this long, in milliseconds, before it is looked at. */
  delayMilliseconds: number;
  /** Answers the next `times` requests that carry a right signature with this failure. */
  failNext(name: WireFailureName, times?: number): void;
  /** Carries out the next `times` requests, and then cuts the connection without an answer. */
  loseAnswers(times?: number): void;
  /** From now on, until the returned function is called, requests wait; then they go on. */
  hold(): () => void;
  /** From now on requests are read and never answered. `hang(false)` ends that for new ones. */
  hang(on?: boolean): void;
  /** A token bucket: `burst` requests at once, then `perSecond`; undefined takes it away. */
  throttle(rate: { readonly perSecond: number; readonly burst: number } | undefined): void;
  /** Ends all of the above. A request that hangs keeps hanging. */
  clear(): void;
  /** How many requests are now held or hanging. */
  readonly waiting: number;
}

/** Faults of the whole cloud, and of a part of it. */
export interface CloudFaults extends Faults {
  /**
   * Faults for one part alone, such as `GetConsoleOutput`, `ec2` or `ec2-instance-connect`: an operation, or a service by
   * the name in its signatures. They last until they are cleared themselves.
   */
  of(part: string): Faults;
}

/** The side the server asks. */
export interface FaultPlan extends Faults {
  /** Resolves when the request may be looked at; never, where it hangs. */
  admit(): Promise<void>;
  takeFailure(): WireFailureName | undefined;
  takeLostAnswer(): boolean;
}

export function makeFaults(): FaultPlan {
  let failures: WireFailureName[] = [];
  let always: WireFailureName | undefined;
  let lost = 0;
  let hanging = false;
  let waiting = 0;
  let held: Promise<void> | undefined;
  let release = () => {};
  let bucket: { perSecond: number; burst: number; tokens: number; at: number } | undefined;

  const overRate = (): boolean => {
    if (bucket === undefined) return false;
    const now = performance.now();
    bucket.tokens = Math.min(bucket.burst, bucket.tokens + ((now - bucket.at) / 1000) * bucket.perSecond);
    bucket.at = now;
    if (bucket.tokens < 1) return true;
    bucket.tokens -= 1;
    return false;
  };

  return {
    delayMilliseconds: 0,
    failNext(name, times = 1) {
      if (times === Number.POSITIVE_INFINITY) always = name;
      else failures.push(...Array<WireFailureName>(times).fill(name));
    },
    loseAnswers(times = 1) {
      lost += times;
    },
    hold() {
      release();
      const { promise, resolve } = Promise.withResolvers<void>();
      held = promise;
      release = () => {
        resolve();
        if (held === promise) held = undefined;
      };
      return release;
    },
    hang(on = true) {
      hanging = on;
    },
    throttle(rate) {
      bucket = rate && { ...rate, tokens: rate.burst, at: performance.now() };
    },
    clear() {
      this.delayMilliseconds = 0;
      failures = [];
      always = undefined;
      lost = 0;
      hanging = false;
      bucket = undefined;
      release();
    },
    get waiting() {
      return waiting;
    },

    async admit() {
      waiting += 1;
      if (hanging) await new Promise<never>(() => {});
      if (this.delayMilliseconds > 0) await sleep(this.delayMilliseconds);
      if (held !== undefined) await held;
      waiting -= 1;
    },
    takeFailure() {
      return (overRate() ? 'ThrottlingException' : undefined) ?? failures.shift() ?? always;
    },
    takeLostAnswer() {
      if (lost === 0) return false;
      lost -= 1;
      return true;
    },
  };
}
