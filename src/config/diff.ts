import { printable } from '../cli/terminal.ts';

const contextLines = 3;

/**
 * A unified diff of two versions of a file with one hunk: from the first line that differs to the last.
 * Empty when they are the same; `undefined` stands for a file that is not there.
 */
export function unifiedDiff(path: string, before: Buffer | undefined, after: Buffer | undefined): string {
  const old = split(before);
  const now = split(after);
  const shortest = Math.min(old.length, now.length);
  let head = 0;
  while (head < shortest && old[head] === now[head]) head++;
  let tail = 0;
  while (tail < shortest - head && old[old.length - 1 - tail] === now[now.length - 1 - tail]) tail++;
  if (head === old.length && head === now.length) return '';

  const start = Math.max(0, head - contextLines);
  const after3 = Math.min(tail, contextLines);
  const removed = old.slice(head, old.length - tail);
  const added = now.slice(head, now.length - tail);
  return [
    `--- ${before === undefined ? '/dev/null' : printable(path)}`,
    `+++ ${after === undefined ? '/dev/null' : printable(path)}`,
    `@@ -${range(start, head - start + removed.length + after3)} +${range(start, head - start + added.length + after3)} @@`,
    ...old.slice(start, head).map((line) => shown(' ', line)),
    ...removed.map((line) => shown('-', line)),
    ...added.map((line) => shown('+', line)),
    ...old.slice(old.length - tail, old.length - tail + after3).map((line) => shown(' ', line)),
    '',
  ].join('\n');
}

function range(start: number, count: number): string {
  return `${count === 0 ? start : start + 1},${count}`;
}

function shown(sign: string, line: string): string {
  const text = Buffer.from(line.replace(/\r?\n$/, ''), 'latin1').toString();
  const safe = text.split('\t').map(printable).join('\t');
  return line.endsWith('\n') ? sign + safe : `${sign}${safe}\n\\ No newline at end of file`;
}

function split(bytes: Buffer | undefined): string[] {
  return bytes?.toString('latin1').match(/[^\n]*\n|[^\n]+$/g) ?? [];
}
