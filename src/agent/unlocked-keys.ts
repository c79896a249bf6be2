import type { KeyObject } from 'node:crypto';
import { type Age, collectGarbage, startAge } from './credentials/key-memory.ts';
import type { Log } from './log.ts';

/** Timers stand still while the machine sleeps: the time is looked at this often, in milliseconds. */
const lookInterval = 30_000;

interface Unlocked {
  readonly name: string;
  readonly privateKey: KeyObject;
  readonly age: Age;
  readonly lifetime: number;
}

/** Keys that a passphrase has unlocked, in memory for as long as `key_lifetime` said then. */
export class UnlockedKeys {
  readonly #keys = new Map<string, Unlocked>();
  readonly #log: Log;
  readonly #changed: () => void;
  #timer: NodeJS.Timeout | undefined;

  /** @param changed told when one has come, or its time has been looked at */
  constructor(log: Log, changed: () => void) {
    this.#log = log;
    this.#changed = changed;
  }

  get names(): readonly string[] {
    return [...this.#keys.values()].map(({ name }) => name);
  }

  /** Undefined where it is not there, or its time is over. */
  get(id: string): KeyObject | undefined {
    const key = this.#keys.get(id);
    return key !== undefined && key.age() < key.lifetime ? key.privateKey : undefined;
  }

  /** @param lifetime in milliseconds */
  keep(id: string, name: string, privateKey: KeyObject, lifetime: number): void {
    this.#keys.set(id, { name, privateKey, age: startAge(), lifetime });
    this.#log(`the key ${name} is unlocked for ${Math.round(lifetime / 1000)} s`);
    this.#schedule();
    this.#changed();
  }

  #schedule(): void {
    clearTimeout(this.#timer);
    const left = [...this.#keys.values()].map(({ age, lifetime }) => lifetime - age());
    if (left.length === 0) return;
    const pause = Math.min(lookInterval, Math.max(100, Math.min(...left)));
    this.#timer = setTimeout(() => this.#look(), pause).unref();
  }

  /** What is over is dropped, and collected. */
  #look(): void {
    for (const [id, { name, age, lifetime }] of this.#keys) {
      if (age() < lifetime) continue;
      this.#keys.delete(id);
      this.#log(`the key ${name} is locked again`);
      collectGarbage();
    }
    this.#schedule();
    if (this.#keys.size === 0) this.#changed();
  }
}
