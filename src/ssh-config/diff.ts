import { printable } from '../cli/terminal.ts';

const contextLines = 3;
/** Above this number of changed lines, the diff replaces the whole file: the search takes quadratic time. */
const mostEdits = 400;

type Step = readonly [sign: ' ' | '-' | '+', line: string];

/**
 * @param path as the header shows it
 * @param before undefined if the file does not exist, as `after`
 * @returns a unified diff; empty if the versions are equal
 */
export function unifiedDiff(path: string, before: Buffer | undefined, after: Buffer | undefined): string {
  const steps = compare(split(before), split(after));
  if (steps.every(([sign]) => sign === ' ')) return '';
  return [
    `--- ${before === undefined ? '/dev/null' : printable(path)}`,
    `+++ ${after === undefined ? '/dev/null' : printable(path)}`,
    ...hunks(steps),
    '',
  ].join('\n');
}

/** @returns the steps that turn the old lines into the new ones, with the unchanged lines */
function compare(old: readonly string[], now: readonly string[]): Step[] {
  const shortest = Math.min(old.length, now.length);
  let head = 0;
  while (head < shortest && old[head] === now[head]) head++;
  let tail = 0;
  while (tail < shortest - head && old[old.length - 1 - tail] === now[now.length - 1 - tail]) tail++;
  const stay = (line: string): Step => [' ', line];
  return [
    ...old.slice(0, head).map(stay),
    ...edits(old.slice(head, old.length - tail), now.slice(head, now.length - tail)),
    ...old.slice(old.length - tail).map(stay),
  ];
}

/** The shortest edit script: E. W. Myers, "An O(ND) Difference Algorithm and Its Variations", 1986. */
function edits(old: readonly string[], now: readonly string[]): Step[] {
  const trail: Int32Array[] = [];
  const most = Math.min(old.length + now.length, mostEdits);
  // The furthest position in `old` on each diagonal, shifted so that diagonal -most has index 1.
  const reach = new Int32Array(2 * most + 3);
  for (let count = 0; count <= most; count += 1) {
    trail.push(reach.slice());
    for (let diagonal = -count; diagonal <= count; diagonal += 2) {
      let x = startOf(reach, most, count, diagonal);
      while (x < old.length && x - diagonal < now.length && old[x] === now[x - diagonal]) x += 1;
      reach[most + 1 + diagonal] = x;
      if (x >= old.length && x - diagonal >= now.length) return trace(old, now, trail, most);
    }
  }
  return [...old.map((line): Step => ['-', line]), ...now.map((line): Step => ['+', line])];
}

/** Extends a neighbour's path by one line: down (an added line) or right (a removed line). */
function startOf(reach: Int32Array, most: number, count: number, diagonal: number): number {
  const [below = 0, above = 0] = [reach[most + diagonal], reach[most + 2 + diagonal]];
  return comesFromAbove(below, above, count, diagonal) ? above : below + 1;
}

function comesFromAbove(below: number, above: number, count: number, diagonal: number): boolean {
  return diagonal === -count || (diagonal !== count && below < above);
}

/** Follows the trail from the end back to the start. */
function trace(
  old: readonly string[],
  now: readonly string[],
  trail: readonly Int32Array[],
  most: number,
): Step[] {
  const steps: Step[] = [];
  let [x, y] = [old.length, now.length];
  for (let count = trail.length - 1; count >= 0; count -= 1) {
    const reach = trail[count] ?? new Int32Array();
    const diagonal = x - y;
    const [below = 0, above = 0] = [reach[most + diagonal], reach[most + 2 + diagonal]];
    const isDown = comesFromAbove(below, above, count, diagonal);
    const start = count === 0 ? 0 : startOf(reach, most, count, diagonal);
    while (x > start) steps.push([' ', old[--x] ?? '']);
    y = x - diagonal;
    if (count === 0) break;
    if (isDown) steps.push(['+', now[--y] ?? '']);
    else steps.push(['-', old[--x] ?? '']);
  }
  return steps.reverse();
}

function hunks(steps: readonly Step[]): string[] {
  const lines: string[] = [];
  const changes = steps.flatMap(([sign], at) => (sign === ' ' ? [] : [at]));
  const numbers = { old: 0, now: 0, at: 0 };
  for (let first = 0; first < changes.length; ) {
    let last = first;
    while ((changes[last + 1] ?? Number.POSITIVE_INFINITY) - (changes[last] ?? 0) <= 2 * contextLines + 1)
      last += 1;
    const from = Math.max(0, (changes[first] ?? 0) - contextLines);
    const to = Math.min(steps.length, (changes[last] ?? 0) + contextLines + 1);
    for (; numbers.at < from; numbers.at += 1) count(numbers, steps[numbers.at]);
    const start = { ...numbers };
    for (; numbers.at < to; numbers.at += 1) count(numbers, steps[numbers.at]);
    lines.push(
      `@@ -${range(start.old, numbers.old - start.old)} +${range(start.now, numbers.now - start.now)} @@`,
      ...ordered(steps.slice(from, to)).map(([sign, line]) => shown(sign, line)),
    );
    first = last + 1;
  }
  return lines;
}

function count(numbers: { old: number; now: number }, step: Step | undefined): void {
  if (step?.[0] !== '+') numbers.old += 1;
  if (step?.[0] !== '-') numbers.now += 1;
}

/** Puts the removed lines of a change before the added ones. */
function ordered(steps: readonly Step[]): Step[] {
  const sorted: Step[] = [];
  const added: Step[] = [];
  for (const step of steps) {
    if (step[0] === '+') added.push(step);
    else {
      if (step[0] === ' ') sorted.push(...added.splice(0));
      sorted.push(step);
    }
  }
  return [...sorted, ...added];
}

function range(start: number, length: number): string {
  return `${length === 0 ? start : start + 1},${length}`;
}

function shown(sign: string, line: string): string {
  const text = Buffer.from(line.replace(/\r?\n$/, ''), 'latin1').toString();
  const safe = text.split('\t').map(printable).join('\t');
  return line.endsWith('\n') ? sign + safe : `${sign}${safe}\n\\ No newline at end of file`;
}

function split(bytes: Buffer | undefined): string[] {
  return bytes?.toString('latin1').match(/[^\n]*\n|[^\n]+$/g) ?? [];
}
