import { realpathSync } from 'node:fs';
import { join } from 'node:path';
import { isSea } from 'node:sea';
import type { ProgramCall } from './system/interface.ts';
import { system } from './system/system.ts';

/**
 * The program as ssh is to start it: the single executable itself, else, when run from source, the one that
 * this checkout builds. Absolute.
 */
export function programPath(): string {
  if (isSea()) return process.execPath;
  return join(realpathSync(join(import.meta.dirname, '..', '..')), 'dist', system.programName);
}

/**
 * How to start another process of mint-ssh. Every such process is started with this, so that its limit for core
 * files is 0 from its first instruction, which Node cannot set by itself. The executable has `--disable-sigusr1`
 * inside (build/executable.ts). What the shell itself adds to the environment is removed.
 *
 * @param words the command and its arguments, such as `['agent', '--background']`
 * @param options `keepsEnvironment`: what the shell adds to it is not removed, because the caller's may be among it
 */
export function ownProcess(
  words: readonly string[],
  { keepsEnvironment = false }: { readonly keepsEnvironment?: boolean } = {},
): ProgramCall {
  return system.start(programPath(), words, keepsEnvironment);
}
