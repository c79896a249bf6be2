/** Inputs that once reached code which no other input reached: `corpus/<target>/<start of the SHA-256>`. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const directory = join(import.meta.dirname, 'corpus');

/** @returns the inputs kept for a target, in a fixed order; empty if there are none */
export function readCorpus(target: string): Buffer[] {
  const folder = join(directory, target);
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .sort()
    .map((file) => readFileSync(join(folder, file)));
}
