/** Moves the clocks of a program that a test starts: libfaketime is preloaded into it. */
import { renameSync, writeFileSync } from 'node:fs';
import { libfaketime } from '../programs.ts';

/** The clocks of the programs that are started with `environment`: wall clock, monotonic clock and timers. */
export class MovableClock {
  readonly #path: string;

  /**
   * @param path a file that is made here. An agent drops the variable that names it: for one it is `.faketimerc` in its home
   *   directory, where libfaketime looks by default.
   */
  constructor(path: string) {
    this.#path = path;
    this.set(0);
  }

  get environment(): Record<string, string> {
    return { LD_PRELOAD: libfaketime, FAKETIME_NO_CACHE: '1', FAKETIME_TIMESTAMP_FILE: this.#path };
  }

  /** The same with the monotonic clock left as it is: as in a suspend, or where the user sets the clock. */
  get wallClockOnly(): Record<string, string> {
    return { ...this.environment, FAKETIME_DONT_FAKE_MONOTONIC: '1' };
  }

  /**
   * Sets the clocks. A timer that is due then runs when the program next handles an event.
   * @param seconds from the real time
   */
  set(seconds: number): void {
    writeFileSync(`${this.#path}~`, `${seconds < 0 ? '' : '+'}${seconds}\n`);
    renameSync(`${this.#path}~`, this.#path);
  }
}
