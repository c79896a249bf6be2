/**
 * Blocks the thread. For waits of a few milliseconds in code that must not yield: while it holds a lock or an open file.
 *
 * @param milliseconds how long to wait
 */
export function sleepSync(milliseconds: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds);
}
