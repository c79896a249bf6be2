import { printable } from '../cli/terminal.ts';
import { MintError } from '../errors.ts';

const minute = 60;
const secondsOf: Readonly<Record<string, number>> = {
  m: minute,
  h: 60 * minute,
  d: 24 * 60 * minute,
  w: 7 * 24 * 60 * minute,
};
/** What lives longer than this is a key without an end, and should be called so. */
const longestSeconds = 3650 * 24 * 60 * minute;

/** `90m`, `12h`, `30d`, `2w` → seconds. @throws MintError `usage` for anything else, nothing, and over ten years */
export function parseLifetime(text: string): number {
  const [, count = '', unit = ''] = /^([1-9][0-9]{0,6})([mhdw])$/.exec(text) ?? [];
  const seconds = Number(count) * (secondsOf[unit] ?? 0);
  if (seconds > 0 && seconds <= longestSeconds) return seconds;
  throw new MintError('usage', `"${printable(text.slice(0, 40))}" is no time that a key may live`, {
    hint: 'a number and m, h, d or w, ten years at most: --expires 30d',
  });
}
