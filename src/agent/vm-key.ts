/** The one ephemeral key behind a VM's socket: made, listed, pushed, used to sign, dropped. */
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { publicKeyBlob, publicKeyLine } from '../ssh/ed25519.ts';
import { collectGarbage } from './garbage.ts';
import { type Push, Pushes } from './pushes.ts';
import { type Stopwatch, startStopwatch } from './stopwatch.ts';

/** A key that a client listed waits this long for the connection that pushes it, in milliseconds. */
const listedLifetime = 120_000;

export interface KeyPair {
  readonly privateKey: KeyObject;
  readonly blob: Buffer;
  /** The bare `ssh-ed25519 …` line that is pushed. */
  readonly line: string;
}

/**
 * A new pair is made only when no push is live and no connection stands between its `open` and its first
 * signature: what a client has listed is what it will ask to sign with.
 */
export class VmKey {
  #pair: KeyPair | undefined;
  #listed: Stopwatch | undefined;
  #timer: NodeJS.Timeout | undefined;
  readonly #pushes = new Pushes();
  readonly #connecting = new Set<object>();

  /** The pair to use now. */
  pair(): KeyPair {
    if (!this.#isNeeded()) this.#drop();
    this.#pair ??= makePair();
    return this.#pair;
  }

  /** The pair, for a client's list; from now on it waits for the connection that client will make. */
  list(): KeyPair {
    const pair = this.pair();
    // While a connection stands before its signature the key is kept for it; afterwards a push keeps it, or nothing.
    if (this.#connecting.size === 0) {
      this.#listed = startStopwatch();
      this.#schedule();
    }
    return pair;
  }

  /** @param connection keeps the pair, a new one where the last is done for, until it is `settled` */
  connecting(connection: object): void {
    this.pair();
    this.#connecting.add(connection);
  }

  settled(connection: object): void {
    if (this.#connecting.delete(connection)) this.#schedule();
  }

  /**
   * A live push for `scope`, else a new one: however many ask, one call is made.
   * @param send makes the call to AWS, and gives the id of the request
   */
  push(scope: string, send: (line: string) => Promise<string>): Push {
    const live = this.#pushes.live(scope);
    if (live !== undefined) return live;
    // Only now: a stale push must not have counted as a reason to keep the pair.
    const { line } = this.pair();
    const push = this.#pushes.begin(scope, () => send(line));
    this.#schedule();
    return push;
  }

  /** The pair there is, if any; asking for it keeps nothing and makes nothing. */
  get current(): KeyPair | undefined {
    return this.#pair;
  }

  /** Milliseconds for which the newest push that AWS said yes to is good; undefined where there is none. */
  get freshFor(): number | undefined {
    return this.#pushes.freshFor;
  }

  #isNeeded(): boolean {
    const isListed = this.#listed !== undefined && this.#listed() < listedLifetime;
    return this.#connecting.size > 0 || this.#pushes.liveFor !== undefined || isListed;
  }

  #drop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#pair === undefined) return;
    this.#pair = undefined;
    this.#listed = undefined;
    this.#pushes.clear();
    collectGarbage();
  }

  /** A key that nothing needs any more does not wait for the next connection to be dropped. */
  #schedule(): void {
    clearTimeout(this.#timer);
    const listedFor = this.#listed === undefined ? 0 : listedLifetime - this.#listed();
    const wait = Math.max(this.#pushes.liveFor ?? 0, listedFor, 1000);
    this.#timer = setTimeout(() => {
      if (!this.#isNeeded()) this.#drop();
      else if (this.#connecting.size === 0) this.#schedule();
    }, wait).unref();
  }
}

function makePair(): KeyPair {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  return { privateKey, blob: publicKeyBlob(publicKey), line: publicKeyLine(publicKey) };
}
