/** Inputs that were found once and are tried for ever: `corpus/<target>/<sha256>`. */
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const directory = join(import.meta.dirname, 'corpus');

export function readCorpus(target: string): Buffer[] {
  return filesOf(target).map((file) => readFileSync(join(directory, target, file)));
}

/** Puts these in the place of what is there. */
export function writeCorpus(target: string, inputs: readonly Buffer[]): void {
  mkdirSync(join(directory, target), { recursive: true });
  const names = new Map(inputs.map((input) => [nameOf(input), input]));
  for (const file of filesOf(target)) if (!names.has(file)) rmSync(join(directory, target, file));
  for (const [name, input] of names) writeFileSync(join(directory, target, name), input);
}

export function nameOf(input: Buffer): string {
  return createHash('sha256').update(input).digest('hex').slice(0, 16);
}

function filesOf(target: string): string[] {
  try {
    return readdirSync(join(directory, target)).sort();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}
