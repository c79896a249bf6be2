import { type Stopwatch, startStopwatch } from './stopwatch.ts';

/** A pushed key is taken for good this long after the push was sent, in milliseconds; AWS's limit is 60 s. */
export const pushLifetime = 50_000;
/** AWS lets a pushed key in for this long, in milliseconds: beyond it there is nothing to sign for. */
export const pushLimit = 60_000;

/** One authorisation of a key: for an AWS identity, an instance and a user on it. */
export interface Push {
  readonly age: Stopwatch;
  /** Resolves when AWS has said yes; rejects with its refusal. */
  readonly done: Promise<void>;
  /** How long AWS took; undefined until it has said yes. */
  milliseconds: number | undefined;
  /** What AWS calls the request; undefined likewise. */
  requestId: string | undefined;
}

/** The pushes of one key, by their scope: however many ask for one, one call is made. */
export class Pushes {
  readonly #pushes = new Map<string, Push>();

  /** A push for `scope` that is good for a while yet. */
  live(scope: string): Push | undefined {
    const found = this.#pushes.get(scope);
    if (found !== undefined && found.age() < pushLifetime) return found;
    this.#pushes.delete(scope);
    return undefined;
  }

  /** @param send makes the call to AWS, and gives the id of the request */
  begin(scope: string, send: () => Promise<string>): Push {
    const age = startStopwatch();
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

  /** Milliseconds for which the newest push that AWS said yes to is good; undefined where there is none. */
  get freshFor(): number | undefined {
    return this.#longest(({ milliseconds }) => milliseconds !== undefined);
  }

  /** The same for all pushes, those still under way among them. */
  get liveFor(): number | undefined {
    return this.#longest(() => true);
  }

  clear(): void {
    this.#pushes.clear();
  }

  #longest(counts: (push: Push) => boolean): number | undefined {
    const left = [...this.#pushes.values()].filter(counts).map((push) => pushLifetime - push.age());
    const most = Math.max(0, ...left);
    return most > 0 ? most : undefined;
  }
}
