/** Dials several candidates, the better ones with a head start, and keeps the first that connects: RFC 8305 §5. */

export interface Contender<T> {
  /** How long the contenders before this one run alone; it starts sooner if all of them have failed. */
  readonly headStartMs: number;
  /** Begins; gives up when the signal is aborted. */
  readonly start: (signal: AbortSignal) => Promise<T>;
}

/** Every contender has failed. */
export class AllFailed extends Error {
  /** The errors in the order of the contenders. */
  readonly failures: readonly unknown[];

  constructor(failures: readonly unknown[]) {
    super('all candidates have failed', { cause: failures[0] });
    this.failures = failures;
  }
}

/**
 * Resolves with the first result and aborts the other contenders.
 * @param discard takes the result of a contender that arrives although it was aborted
 * @throws AllFailed
 */
export function race<T>(contenders: readonly Contender<T>[], discard: (late: T) => void): Promise<T> {
  const { promise, resolve, reject } = Promise.withResolvers<T>();
  const over = new AbortController();
  const failures: unknown[] = [];
  let started = 0;
  let failed = 0;
  let timer: NodeJS.Timeout | undefined;

  const arrive = (result: T) => {
    if (over.signal.aborted) {
      discard(result);
      return;
    }
    clearTimeout(timer);
    resolve(result);
    over.abort();
  };
  const startNext = () => {
    clearTimeout(timer);
    const at = started;
    const contender = contenders[at];
    if (contender === undefined || over.signal.aborted) return;
    started += 1;
    contender.start(over.signal).then(arrive, (error: unknown) => {
      failures[at] = error;
      failed += 1;
      if (failed === contenders.length) reject(new AllFailed(failures));
      else if (failed === started) startNext();
    });
    const next = contenders[started];
    if (next !== undefined) timer = setTimeout(startNext, next.headStartMs);
  };
  if (contenders.length === 0) reject(new AllFailed([]));
  startNext();
  return promise;
}
