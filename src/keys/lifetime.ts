import { printable } from '../cli/terminal.ts';
import { MintError } from '../errors.ts';

const minute = 60;
const secondsOf: Readonly<Record<string, number>> = {
  m: minute,
  h: 60 * minute,
  d: 24 * 60 * minute,
  w: 7 * 24 * 60 * minute,
};
/** The longest lifetime in seconds: ten years. A key that lives longer should have no expiry. */
const longestSeconds = 3650 * 24 * 60 * minute;

/**
 * Parses `90m`, `12h`, `30d`, `2w`.
 * @returns seconds
 * @throws MintError `usage` for anything else, and over ten years
 */
export function parseLifetime(text: string): number {
  const [, count = '', unit = ''] = /^([1-9][0-9]{0,6})([mhdw])$/.exec(text) ?? [];
  const seconds = Number(count) * (secondsOf[unit] ?? 0);
  if (seconds > 0 && seconds <= longestSeconds) return seconds;
  throw new MintError('usage', `invalid --expires: "${printable(text.slice(0, 40))}"`, {
    hint: 'use a number and m, h, d or w, up to ten years: --expires 30d',
  });
}
