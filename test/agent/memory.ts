import { readdirSync, readFileSync } from 'node:fs';

/** The private dirty pages of a process, in megabytes. */
export function megabytes(pid: number): number {
  const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
  return Number(/Private_Dirty:\s+(\d+) kB/.exec(rollup)?.[1]) / 1024;
}

/**
 * By how many megabytes an agent may grow that keeps nothing: V8 collects garbage late, and later on a busy machine. An
 * agent of 28 MB was seen to grow by 50 before it shrank.
 */
export const garbageMegabytes = 100;

/** How many descriptors a process has open. */
export function descriptors(pid: number): number {
  return readdirSync(`/proc/${pid}/fd`).length;
}
