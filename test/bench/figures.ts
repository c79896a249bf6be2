/** Numbers as a reader wants them: the middle, and how far they spread. */

export interface Spread {
  readonly median: number;
  /** A tenth of the values lies below `low`, a tenth above `high`. */
  readonly low: number;
  readonly high: number;
  readonly count: number;
}

export function spread(values: readonly number[]): Spread {
  const sorted = values.toSorted((one, other) => one - other);
  const at = (share: number) => sorted[Math.round(share * (sorted.length - 1))] ?? Number.NaN;
  return { median: at(0.5), low: at(0.1), high: at(0.9), count: sorted.length };
}

export const median = (values: readonly number[]): number => spread(values).median;

/**
 * Takes every way once a round, and in each round begins with another: what changes on the machine meanwhile
 * changes for all of them.
 *
 * @param warmUps how many rounds more come first and do not count; they have the numbers from 0 on
 * @returns what each way's measurements gave, in order
 */
export async function interleave<Name extends string>(
  rounds: number,
  ways: Readonly<Record<Name, (round: number) => Promise<number>>>,
  warmUps = 1,
): Promise<Record<Name, number[]>> {
  const names = Object.keys(ways) as Name[];
  const results = Object.fromEntries(names.map((name) => [name, [] as number[]])) as Record<Name, number[]>;
  for (let round = 0; round < rounds + warmUps; round += 1) {
    for (let turn = 0; turn < names.length; turn += 1) {
      const name = names[(round + turn) % names.length] as Name;
      const value = await ways[name](round);
      if (round >= warmUps) results[name].push(value);
    }
  }
  return results;
}
