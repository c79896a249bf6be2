import { type StructuredPatchHunk, structuredPatch } from 'diff';
import { printable } from '../cli/terminal.ts';
import { splitLines } from '../platform/files.ts';

/** Above this number of changed lines, the diff replaces the whole file: the search takes quadratic time. */
const maxEditLength = 400;
const noNewline = '\\ No newline at end of file';

/**
 * @param path as the header shows it
 * @param before undefined if the file does not exist, as `after`
 * @returns a unified diff; empty if the versions are equal
 */
export function unifiedDiff(path: string, before: Buffer | undefined, after: Buffer | undefined): string {
  const [old, now] = [before?.toString('latin1') ?? '', after?.toString('latin1') ?? ''];
  if (old === now) return '';
  const patch = structuredPatch(path, path, old, now, undefined, undefined, { context: 3, maxEditLength });
  return [
    `--- ${before === undefined ? '/dev/null' : printable(path)}`,
    `+++ ${after === undefined ? '/dev/null' : printable(path)}`,
    ...(patch?.hunks ?? [replacement(splitLines(old), splitLines(now))]).flatMap(format),
    '',
  ].join('\n');
}

/** One hunk that removes every old line and adds every new one. */
function replacement(old: readonly string[], now: readonly string[]): StructuredPatchHunk {
  const signed = (sign: string, lines: readonly string[]) =>
    lines.flatMap((line) => (line.endsWith('\n') ? [sign + line.slice(0, -1)] : [sign + line, noNewline]));
  const lines = [...signed('-', old), ...signed('+', now)];
  return { oldStart: 1, oldLines: old.length, newStart: 1, newLines: now.length, lines };
}

function format({ oldStart, oldLines, newStart, newLines, lines }: StructuredPatchHunk): string[] {
  return [
    `@@ -${range(oldStart, oldLines)} +${range(newStart, newLines)} @@`,
    ...lines.map((line) => (line === noNewline ? line : line.charAt(0) + shown(line.slice(1)))),
  ];
}

/** In a unified diff, an empty range begins at the line before it. */
function range(start: number, length: number): string {
  return `${length === 0 ? start - 1 : start},${length}`;
}

/** The user's bytes as text; a control character other than a tab does not reach the terminal. */
function shown(line: string): string {
  const text = Buffer.from(line.replace(/\r$/, ''), 'latin1').toString();
  return text.split('\t').map(printable).join('\t');
}
