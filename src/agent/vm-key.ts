/** The one key behind a VM's socket: made, listed, pushed, used to sign, dropped. */
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { publicKeyBlob, publicKeyLine } from '../ssh/ed25519.ts';
import { collectGarbage } from './garbage.ts';
import { type Stopwatch, startStopwatch } from './stopwatch.ts';

/** A pushed key is taken for good this long after the push was sent, in milliseconds; AWS's limit is 60 s. */
export const pushLifetime = 50_000;
/** A key that a client listed waits this long for the connection that pushes it, in milliseconds. */
const listedLifetime = 120_000;

export interface KeyPair {
  readonly privateKey: KeyObject;
  readonly blob: Buffer;
  /** The bare `ssh-ed25519 …` line that is pushed. */
  readonly line: string;
}

/** One authorisation of the key: for an AWS identity, an instance and a user on it. */
export interface Push {
  readonly age: Stopwatch;
  /** Resolves when AWS has said yes; rejects with its refusal. */
  readonly done: Promise<void>;
  /** How long AWS took; undefined until it has said yes. */
  milliseconds: number | undefined;
  /** What AWS calls the request; undefined likewise. */
  requestId: string | undefined;
}

/**
 * A new pair is made only when no push is live and no connection stands between its `open` and its first
 * signature: what a client has listed is what it will ask to sign with.
 */
export class VmKey {
  #pair: KeyPair | undefined;
  #listed: Stopwatch | undefined;
  #timer: NodeJS.Timeout | undefined;
  readonly #pushes = new Map<string, Push>();
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
  push(scope: string, send: (pair: KeyPair) => Promise<string>): Push {
    const live = this.#pushes.get(scope);
    if (live !== undefined && live.age() < pushLifetime) return live;
    // Before the pair is taken: a stale push must not count as a reason to keep it.
    this.#pushes.delete(scope);
    const age = startStopwatch();
    const sent = send(this.pair()).then((requestId) => {
      push.milliseconds = age();
      push.requestId = requestId;
    });
    const push: Push = { age, done: sent, milliseconds: undefined, requestId: undefined };
    this.#pushes.set(scope, push);
    push.done.catch(() => {
      if (this.#pushes.get(scope) === push) this.#pushes.delete(scope);
    });
    this.#schedule();
    return push;
  }

  /** The pair there is, if any; asking for it keeps nothing and makes nothing. */
  get current(): KeyPair | undefined {
    return this.#pair;
  }

  /** Milliseconds for which the newest push that AWS said yes to is good; undefined where there is none. */
  get freshFor(): number | undefined {
    return this.#longest(({ milliseconds }) => milliseconds !== undefined);
  }

  /** The same for all pushes, those still under way among them. */
  get #liveFor(): number | undefined {
    return this.#longest(() => true);
  }

  #longest(counts: (push: Push) => boolean): number | undefined {
    const left = [...this.#pushes.values()].filter(counts).map((push) => pushLifetime - push.age());
    const most = Math.max(0, ...left);
    return most > 0 ? most : undefined;
  }

  #isNeeded(): boolean {
    const isListed = this.#listed !== undefined && this.#listed() < listedLifetime;
    return this.#connecting.size > 0 || this.#liveFor !== undefined || isListed;
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
    const wait = Math.max(this.#liveFor ?? 0, listedFor, 1000);
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
