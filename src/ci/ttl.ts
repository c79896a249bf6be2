import { printable } from '../cli/terminal.ts';
import { MintError } from '../errors.ts';

/** How long a person may be inside a failed VM, in seconds, unless told less; nothing makes it more. */
export const longestTtl = 30 * 60;

/** `10m`, `90s` → seconds. @throws MintError `usage` for nothing, for anything else, and for over 30 minutes */
export function parseTtl(text: string | undefined): number {
  if (text === undefined) return longestTtl;
  const [, count = '', unit = ''] = /^([1-9][0-9]{0,3})([ms])$/.exec(text) ?? [];
  const seconds = Number(count) * (unit === 'm' ? 60 : 1);
  if (seconds > 0 && seconds <= longestTtl) return seconds;
  throw new MintError('usage', `"${printable(text.slice(0, 40))}" is no time that debug access may last`, {
    hint: 'a number and m or s, 30 minutes at most: --ttl 10m',
  });
}
