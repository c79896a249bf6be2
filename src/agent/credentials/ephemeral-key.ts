/** The ephemeral key of a VM: made, listed, pushed, used to sign, dropped; and the pushes of a key. */
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import type { VmSettings } from '../../settings/settings.ts';
import { publicKeyBlob, publicKeyLine } from '../../ssh/key-encoding.ts';
import { type Age, collectGarbage, startAge } from './key-memory.ts';

/** A pushed key is relied on for this long after the push was sent; AWS's limit is 60 s. */
export const pushLifetimeMs = 50_000;
/** The VM accepts a pushed key for this long: afterwards there is nothing to sign for. */
export const pushLimitMs = 60_000;
/** A key that a client has listed waits this long for the connection that pushes it. */
const listedLifetimeMs = 120_000;

/** One push of a key, for an AWS identity, an instance and a user on it. */
export interface Push {
  readonly age: Age;
  /** Resolves when AWS has accepted the push; rejects with AWS's refusal. */
  readonly done: Promise<void>;
  /** How long AWS took; undefined until it has accepted the push. */
  milliseconds: number | undefined;
  /** AWS's id of the request; undefined until AWS has accepted the push. */
  requestId: string | undefined;
}

/** The pushes of one key, by scope: however many connections need one, one call is made. */
export class Pushes {
  readonly #pushes = new Map<string, Push>();

  /** @returns a push for `scope` that is still valid for a while */
  live(scope: string): Push | undefined {
    const found = this.#pushes.get(scope);
    if (found !== undefined && found.age() < pushLifetimeMs) return found;
    this.#pushes.delete(scope);
    return undefined;
  }

  /** @param send makes the call to AWS, and returns the id of the request */
  begin(scope: string, send: () => Promise<string>): Push {
    const age = startAge();
    const done = send().then((requestId) => {
      push.milliseconds = age();
      push.requestId = requestId;
    });
    const push: Push = { age, done, milliseconds: undefined, requestId: undefined };
    for (const other of this.#pushes.keys()) this.live(other);
    this.#pushes.set(scope, push);
    push.done.catch(() => {
      if (this.#pushes.get(scope) === push) this.#pushes.delete(scope);
    });
    return push;
  }

  /** Milliseconds for which the newest push that AWS accepted is valid; undefined if there is none. */
  get freshForMs(): number | undefined {
    return this.#longest(({ milliseconds }) => milliseconds !== undefined);
  }

  /** Milliseconds for which the newest push is valid, including one that AWS has not answered yet. */
  get liveForMs(): number | undefined {
    return this.#longest(() => true);
  }

  clear(): void {
    this.#pushes.clear();
  }

  #longest(counts: (push: Push) => boolean): number | undefined {
    const left = [...this.#pushes.values()].filter(counts).map((push) => pushLifetimeMs - push.age());
    const longest = Math.max(0, ...left);
    return longest > 0 ? longest : undefined;
  }
}

type KeyType = VmSettings['keyType'];

/** An ephemeral key pair. */
export interface EphemeralPair {
  readonly privateKey: KeyObject;
  readonly blob: Buffer;
  /** The bare `ssh-ed25519 …` or `ssh-rsa …` line that is pushed. */
  readonly line: string;
}

/**
 * The ephemeral key of one VM: made, listed, pushed, used to sign, dropped. A new pair is made only when no push is
 * live and no connection is between its `open` and its first signature: the key that a client has listed is the one
 * it will ask to sign with.
 */
export class EphemeralKey {
  #pair: EphemeralPair | undefined;
  #type: KeyType = 'ed25519';
  #listedAge: Age | undefined;
  #timer: NodeJS.Timeout | undefined;
  readonly #pushes = new Pushes();
  readonly #connecting = new Set<object>();

  /** @param type of the pairs to make from now on: `key_type` of the VM's settings */
  use(type: KeyType): void {
    if (type === this.#type || this.#connecting.size > 0) return;
    this.#type = type;
    this.#drop();
  }

  /** The pair to use now. */
  pair(): EphemeralPair {
    if (!this.#isNeeded()) this.#drop();
    this.#pair ??= makePair(this.#type);
    return this.#pair;
  }

  /** The pair, for a client's list. It then waits for the connection that the client will make. */
  list(): EphemeralPair {
    const pair = this.pair();
    // A connection before its signature keeps the key; afterwards a push keeps it, or nothing does.
    if (this.#connecting.size === 0) {
      this.#listedAge = startAge();
      this.#schedule();
    }
    return pair;
  }

  /** @param connection keeps the pair (a new one if the last has expired) until it is `settled` */
  connecting(connection: object): void {
    this.pair();
    this.#connecting.add(connection);
  }

  settled(connection: object): void {
    if (this.#connecting.delete(connection)) this.#schedule();
  }

  /**
   * A live push for `scope`, else a new one: however many connections ask, one call is made.
   * @param send makes the call to AWS, and returns the id of the request
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

  /** The current pair, if there is one. Reading it neither makes nor keeps a pair. */
  get current(): EphemeralPair | undefined {
    return this.#pair;
  }

  /** Milliseconds for which the newest push that AWS accepted is valid; undefined if there is none. */
  get freshForMs(): number | undefined {
    return this.#pushes.freshForMs;
  }

  #isNeeded(): boolean {
    const isListed = this.#listedAge !== undefined && this.#listedAge() < listedLifetimeMs;
    return this.#connecting.size > 0 || this.#pushes.liveForMs !== undefined || isListed;
  }

  #drop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#pair === undefined) return;
    this.#pair = undefined;
    this.#listedAge = undefined;
    this.#pushes.clear();
    collectGarbage();
  }

  /** Drops an unneeded key without waiting for the next connection. */
  #schedule(): void {
    clearTimeout(this.#timer);
    const listedForMs = this.#listedAge === undefined ? 0 : listedLifetimeMs - this.#listedAge();
    const waitMs = Math.max(this.#pushes.liveForMs ?? 0, listedForMs, 1000);
    this.#timer = setTimeout(() => {
      if (!this.#isNeeded()) this.#drop();
      else if (this.#connecting.size === 0) this.#schedule();
    }, waitMs).unref();
  }
}

/** An RSA key takes about 0.3 s, in which the agent does nothing else; it is made once for all logins within 50 s. */
function makePair(type: KeyType): EphemeralPair {
  const { privateKey, publicKey } =
    type === 'ed25519' ? generateKeyPairSync('ed25519') : generateKeyPairSync('rsa', { modulusLength: 3072 });
  return { privateKey, blob: publicKeyBlob(publicKey), line: publicKeyLine(publicKey) };
}
