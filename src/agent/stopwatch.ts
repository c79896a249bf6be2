import { performance } from 'node:perf_hooks';

/**
 * Milliseconds since a moment, by whichever clock says more: the monotonic one stands still while the
 * machine sleeps, the wall clock may be set back. AWS's 60 seconds run on through both.
 */
export type Stopwatch = () => number;

export function startStopwatch(): Stopwatch {
  const wall = Date.now();
  const monotonic = performance.now();
  return () => Math.max(Date.now() - wall, performance.now() - monotonic);
}
