import { printable } from '../cli/terminal.ts';
import { MintError } from '../errors.ts';

/** An EC2 instance id: 8 hexadecimal digits until 2016, 17 since. */
export const instancePattern = /^i-(?:[0-9a-f]{8}|[0-9a-f]{17})$/;

const pattern = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/;
const shownCharacters = 40;

/**
 * Checks a VM's name. A valid name is safe in a file name, in an argument (it never starts with `-`), in ssh_config and
 * in `known_hosts` (it has no `=`).
 *
 * The pattern is matched before the name is lower-cased, because some letters outside ASCII have an ASCII lower case
 * (U+212A).
 *
 * @returns the name in lower case
 * @throws MintError `bad-vm-name`
 */
export function vmName(input: string): string {
  if (pattern.test(input)) return input.toLowerCase();
  const cut = input.length > shownCharacters ? `${input.slice(0, shownCharacters)}…` : input;
  throw new MintError('bad-vm-name', `"${printable(cut)}" is not a VM name`, {
    hint: 'a VM name has 1 to 63 letters, digits, dots, underscores and hyphens, and starts with a letter or a digit',
  });
}
