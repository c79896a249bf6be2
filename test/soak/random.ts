/** Random numbers that a seed repeats: xorshift32. */

export interface Random {
  /** A whole number from 0 on, less than `limit`. */
  below(limit: number): number;
  /** One of them. @throws RangeError where there are none */
  pick<T>(from: readonly T[]): T;
}

export function makeRandom(seed: number): Random {
  // Its state must not be zero.
  let state = (seed ^ 0x9e3779b9) >>> 0 || 1;
  const next = (): number => {
    state ^= state << 13;
    state >>>= 0;
    state ^= state >>> 17;
    state ^= state << 5;
    state >>>= 0;
    return state;
  };
  // Small seeds that differ by one begin alike.
  for (let turn = 0; turn < 8; turn += 1) next();
  return {
    below: (limit) => next() % limit,
    pick(from) {
      const [first] = from;
      if (first === undefined) throw new RangeError('there is nothing to pick from');
      return from[next() % from.length] ?? first;
    },
  };
}
