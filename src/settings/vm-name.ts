import { printable } from '../cli/terminal.ts';
import { MintError } from '../errors.ts';

const pattern = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/;
const shownCharacters = 40;

/**
 * The one way in for a VM's name: gives it in lower case, or throws `bad-vm-name`. What passes is safe in a
 * file name, in an argument (it never starts with `-`), in ssh_config and in `known_hosts` (it has no `=`).
 *
 * The pattern is matched before lower-casing, since Unicode has letters whose lower case is ASCII (U+212A).
 */
export function vmName(input: string): string {
  if (pattern.test(input)) return input.toLowerCase();
  const cut = input.length > shownCharacters ? `${input.slice(0, shownCharacters)}…` : input;
  throw new MintError('bad-vm-name', `"${printable(cut)}" is not a VM name`, {
    hint: 'a VM name has 1 to 63 letters, digits, dots, underscores and hyphens, and starts with a letter or a digit',
  });
}
