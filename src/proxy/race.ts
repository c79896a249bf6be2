/** Several ways to the same end, tried with a head start for the better ones (RFC 8305 §5). */

export interface Contender<T> {
  /** How long those before it have for themselves, in milliseconds; it starts sooner when all of them have failed. */
  readonly headStart: number;
  /** Begins; to be given up when the signal is aborted. */
  readonly start: (signal: AbortSignal) => Promise<T>;
}

/** Every contender has failed: with what, in their order. */
export class AllFailed extends Error {
  readonly failures: readonly unknown[];

  constructor(failures: readonly unknown[]) {
    super('every way has failed', { cause: failures[0] });
    this.failures = failures;
  }
}

/**
 * The first to arrive wins; all others are told to give up, and who arrives all the same is handed to `discard`.
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
    const following = contenders[started];
    if (following !== undefined) timer = setTimeout(startNext, following.headStart);
  };
  if (contenders.length === 0) reject(new AllFailed([]));
  startNext();
  return promise;
}
