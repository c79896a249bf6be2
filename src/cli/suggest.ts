/** "Did you mean": the known word that a mistyped one is closest to. */

/** Longer words, in characters, are not compared. */
const maxLength = 64;

/**
 * @returns the closest candidate that differs by at most a third of the word's letters and by at most three; a swap of
 * two neighbouring letters counts as one difference
 */
export function closest(word: string, candidates: Iterable<string>): string | undefined {
  if (word.length > maxLength) return undefined;
  const lower = word.toLowerCase();
  const most = Math.min(3, Math.max(1, Math.floor(word.length / 3)));
  let best: string | undefined;
  let distance = most + 1;
  for (const candidate of candidates) {
    if (candidate.length > maxLength || Math.abs(candidate.length - word.length) >= distance) continue;
    const found = editDistance(lower, candidate.toLowerCase());
    if (found < distance) [best, distance] = [candidate, found];
  }
  return best;
}

/** Optimal string alignment: insertions, deletions, substitutions and swaps of neighbours. */
function editDistance(one: string, other: string): number {
  let older: number[] = [];
  let last = Array.from({ length: other.length + 1 }, (_, at) => at);
  for (let row = 1; row <= one.length; row += 1) {
    const next = [row];
    for (let column = 1; column <= other.length; column += 1) {
      const cost = one[row - 1] === other[column - 1] ? 0 : 1;
      let least = Math.min(
        (last[column] ?? 0) + 1,
        (next[column - 1] ?? 0) + 1,
        (last[column - 1] ?? 0) + cost,
      );
      const isSwap =
        row > 1 && column > 1 && one[row - 1] === other[column - 2] && one[row - 2] === other[column - 1];
      if (isSwap) least = Math.min(least, (older[column - 2] ?? 0) + 1);
      next.push(least);
    }
    older = last;
    last = next;
  }
  return last[other.length] ?? 0;
}
