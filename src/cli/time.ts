/** How times are shown: to programs and to the user, always in UTC. */

/**
 * A time as every `--json` prints it: ISO 8601 with whole seconds, `2026-11-27T14:08:23Z`.
 *
 * @param time in any form that Date reads, or in milliseconds since 1970
 * @returns null for no time, and for a text that is not a time
 */
export function isoTime(time: string | number | undefined): string | null {
  const date = new Date(time ?? Number.NaN);
  return Number.isNaN(date.getTime()) ? null : date.toISOString().replace(/\.\d+Z$/, 'Z');
}

/**
 * A time for the user: `2026-11-27 14:08 UTC`.
 *
 * @param time in any form that Date reads, or in milliseconds since 1970
 * @returns `an unknown time` for a text that is not a time
 */
export function shownTime(time: string | number): string {
  return isoTime(time)?.replace(/^(.{10})T(.{5}).*$/, '$1 $2 UTC') ?? 'an unknown time';
}
