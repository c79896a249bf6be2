import { printable } from './terminal.ts';

export interface TableOptions {
  /** In characters; no limit unless given. */
  readonly maxWidth?: number | undefined;
  /** Positions of columns that are left out, in this order, while the table is too wide. */
  readonly optional?: readonly number[];
  /** The position of the column that is cut if the table is still too wide; the first one by default. */
  readonly cut?: number;
}

/**
 * A table for a user to read: each column as wide as its widest cell. Cells may hold foreign text; control characters
 * in them are escaped. A table that is still too wide without its optional columns has one column cut.
 */
export function columns(
  head: readonly string[],
  rows: readonly (readonly string[])[],
  { maxWidth, optional = [], cut = 0 }: TableOptions = {},
): string {
  const all = [head, ...rows].map((cells) => cells.map(printable));
  const widths = head.map((_, column) =>
    all.reduce((most, cells) => Math.max(most, cells[column]?.length ?? 0), 0),
  );
  const shown = new Set(head.keys());
  const total = () => [...shown].reduce((sum, column) => sum + (widths[column] ?? 0) + 2, -2);
  for (const column of optional) {
    if (maxWidth !== undefined && total() > maxWidth) shown.delete(column);
  }
  const excess = maxWidth === undefined ? 0 : total() - maxWidth;
  if (excess > 0) {
    const width = widths[cut] ?? 0;
    widths[cut] = Math.min(width, Math.max(shortestCut, width - excess));
  }
  const lines = all.map((cells) =>
    [...shown].map((column) => fit(cells[column] ?? '', widths[column] ?? 0)).join('  '),
  );
  return lines.map((line) => line.trimEnd()).join('\n');
}

const shortestCut = 8;

function fit(cell: string, width: number): string {
  return cell.length > width ? `${cell.slice(0, width - 1).toWellFormed()}…` : cell.padEnd(width);
}

/** The width of stdout in columns; undefined if it is a pipe or a file, which take any width. */
export function outputWidth(): number | undefined {
  return process.stdout.isTTY ? Math.max(40, process.stdout.columns || 80) : undefined;
}
