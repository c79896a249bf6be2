/** The `expiry-time` option of a line in authorized_keys, sshd(8). */
import { endOutsideQuotes } from './key-line.ts';

/** The VM's time now, as `YYYYMMDDHHMMSS`. */
export interface Clock {
  readonly local: string;
  readonly utc: string;
}

/** The expiry of a line: sshd uses the earliest `expiry-time`. `alone`: the line has no other option. */
export function expiryOf(options: string): { readonly expires: string | undefined; readonly alone: boolean } {
  const all = splitOptions(options);
  const times = all.flatMap((option) => {
    const [, digits, zone = ''] = /^expiry-time="([0-9]{8}|[0-9]{12}|[0-9]{14})(Z?)"$/i.exec(option) ?? [];
    return digits === undefined ? [] : [`${digits.padEnd(14, '0')}${zone.toUpperCase()}`];
  });
  return { expires: times.sort()[0], alone: all.length === 1 && times.length === 1 };
}

/**
 * @param expires `YYYYMMDDHHMMSS`, with a `Z` for UTC; undefined for a key that does not expire
 * @param clock the VM's own, which sshd compares with
 */
export function isPast(expires: string | undefined, clock: Clock): boolean {
  if (expires === undefined) return false;
  return expires.endsWith('Z') ? expires.slice(0, 14) <= clock.utc : expires <= clock.local;
}

/** `2026-12-22 07:30`, as the VM's clock shows it; UTC has its `Z`. */
export function shownExpiry(expires: string): string {
  return expires.replace(/^(.{4})(..)(..)(..)(..)(..)/, '$1-$2-$3 $4:$5');
}

/**
 * ISO 8601 in the VM's own time, without a zone; `Z` for UTC.
 * @returns null without an expiry
 */
export function isoExpiry(expires: string | undefined): string | null {
  return expires?.replace(/^(.{4})(..)(..)(..)(..)(..)/, '$1-$2-$3T$4:$5:$6') ?? null;
}

/** Splits options at the commas outside quotes. */
export function splitOptions(options: string): string[] {
  const found: string[] = [];
  for (let start = 0; start < options.length; ) {
    const end = endOutsideQuotes(options, ',', start);
    found.push(options.slice(start, end));
    start = end + 1;
  }
  return found;
}
