/** Puts what a campaign measured where docs/reliability.md keeps it. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const page = join(import.meta.dirname, '..', 'docs', 'reliability.md');

/** Replaces the text between `<!-- NAME:begin -->` and `<!-- NAME:end -->`. @throws Error if they are missing */
export function writeSection(name: string, text: string): void {
  const [begin, end] = [`<!-- ${name}:begin -->\n`, `<!-- ${name}:end -->\n`];
  const before = readFileSync(page, 'utf8');
  const [start, stop] = [before.indexOf(begin), before.indexOf(end)];
  if (start < 0 || stop < start) throw new Error(`docs/reliability.md has no place for ${name}`);
  writeFileSync(page, `${before.slice(0, start + begin.length)}\n${text.trim()}\n\n${before.slice(stop)}`);
}

/** A table in Markdown; with `numbers`, the columns after the first are aligned to the right. */
export function table(
  head: readonly string[],
  rows: readonly (readonly string[])[],
  numbers = head.length - 1,
): string {
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  const rule = head.map((_, at) => (at > 0 && at <= numbers ? '--:' : '---'));
  return [line(head), `|${rule.map((cell) => ` ${cell} `).join('|')}|`, ...rows.map(line)].join('\n');
}
