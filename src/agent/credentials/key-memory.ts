/** How long a private key has been in memory, and how it is removed from there. */
import { performance } from 'node:perf_hooks';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/**
 * Milliseconds since a moment, by whichever clock says more: the monotonic clock stops while the machine sleeps, and
 * the wall clock can be set back. The 60 seconds of a pushed key continue through both.
 */
export type Age = () => number;

/** @returns the age of this moment, which counts from now */
export function startAge(): Age {
  const wall = Date.now();
  const monotonic = performance.now();
  return () => Math.max(Date.now() - wall, performance.now() - monotonic);
}

let collect: (() => void) | undefined;

/**
 * Forces a garbage collection soon: a private key that was dropped stays in memory until there is one. V8 offers it
 * only behind a flag. A new context sees the function; the program's own global object never does.
 */
export function collectGarbage(): void {
  setTimeout(() => {
    if (collect === undefined) {
      setFlagsFromString('--expose-gc');
      collect = runInNewContext('gc') as () => void;
    }
    collect();
  }, 0).unref();
}
