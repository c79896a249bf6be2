/** What `key list` shows. */
import { printable } from '../cli/terminal.ts';
import type { AuthorizedKey } from './authorized-keys.ts';
import { type Clock, isoExpiry, isPast, shownExpiry } from './expiry.ts';

const head = ['FINGERPRINT', 'TYPE', 'COMMENT', 'EXPIRES'];

/** For a person; whatever the file holds, nothing in it acts on a terminal. */
export function keyTable(keys: readonly AuthorizedKey[], clock: Clock): string {
  const rows = [head, ...keys.map((key) => cellsOf(key, clock))].map((cells) => cells.map(printable));
  const widths = head.map((_, column) => Math.max(...rows.map((cells) => cells[column]?.length ?? 0)));
  const lines = rows.map((cells) => cells.map((cell, at) => cell.padEnd(widths[at] ?? 0)).join('  '));
  return lines.map((line) => line.trimEnd()).join('\n');
}

function cellsOf({ fingerprint, type, comment, expires, authority }: AuthorizedKey, clock: Clock): string[] {
  const end = expires === undefined ? 'never' : shownExpiry(expires);
  return [
    fingerprint,
    authority ? `${type} (CA)` : type,
    comment,
    isPast(expires, clock) ? `expired ${end}` : end,
  ];
}

/** For a program. */
export function keyListJson(keys: readonly AuthorizedKey[], clock: Clock): Record<string, unknown>[] {
  return keys.map(({ fingerprint, type, comment, options, expires }) => ({
    fingerprint,
    type,
    comment,
    options,
    expires: isoExpiry(expires),
    expired: isPast(expires, clock),
  }));
}
