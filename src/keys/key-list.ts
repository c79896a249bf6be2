/** The output of `key list`, as a table and as JSON. */
import { columns, outputWidth } from '../cli/columns.ts';
import type { AuthorizedKey } from './authorized-keys.ts';
import { type Clock, isoExpiry, isPast, shownExpiry } from './expiry.ts';

const head = ['FINGERPRINT', 'TYPE', 'COMMENT', 'EXPIRES'];

/** The table. Text from the file is escaped, so that it cannot control a terminal. */
export function keyTable(keys: readonly AuthorizedKey[], clock: Clock): string {
  return columns(
    head,
    keys.map((key) => cellsOf(key, clock)),
    { maxWidth: outputWidth(), optional: [1], cut: 2 },
  );
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

/** The value that `--json` prints. */
export function keyListJson(keys: readonly AuthorizedKey[], clock: Clock): Record<string, unknown>[] {
  return keys.map(({ fingerprint, type, comment, options, expires }) => ({
    fingerprint,
    type,
    comment,
    options,
    expires_at: isoExpiry(expires),
    expired: isPast(expires, clock),
  }));
}
