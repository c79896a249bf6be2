/**
 * Which tests run when. `npm test` (and `npm cit`) runs the quick tier, `npm run test:all` every tier in turn.
 *
 * A new file is in the quick tier. Add it to a table below where it takes more than 20 s by itself, needs a platform that is
 * emulated, or shows something that README does not promise.
 */
import { matchesGlob } from 'node:path';

/** Everything else: packaging, other platforms, other clients, long waits, crowds, crashes at every step, fuzzing. */
const slow: readonly string[] = ['test/package/**', 'test/fuzz/**'];

/** Files that measure, or that load the machine: each runs by itself. */
const alone: readonly string[] = ['test/bench/**', 'test/soak/**'];

export const tiers = ['quick', 'slow', 'alone'] as const;
export type Tier = (typeof tiers)[number];

/** @param file relative to the checkout, with slashes */
export function tierOf(file: string): Tier {
  const isIn = (table: readonly string[]) => table.some((pattern) => matchesGlob(file, pattern));
  return isIn(alone) ? 'alone' : isIn(slow) ? 'slow' : 'quick';
}
