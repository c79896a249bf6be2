import { printable } from './terminal.ts';

/** A table for a person: each column as wide as its widest cell. Whoever wrote them, nothing in a cell acts on a terminal. */
export function columns(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [head, ...rows].map((cells) => cells.map(printable));
  const widths = head.map((_, column) =>
    all.reduce((most, cells) => Math.max(most, cells[column]?.length ?? 0), 0),
  );
  const lines = all.map((cells) => cells.map((cell, at) => cell.padEnd(widths[at] ?? 0)).join('  '));
  return lines.map((line) => line.trimEnd()).join('\n');
}
