import { printable } from '../cli/terminal.ts';
import { MintError } from '../errors.ts';

const pattern = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/;

/**
 * The one way in for a project's name, in lower case: what passes is safe as a file's name, as a key of a table
 * and in a build log. @throws MintError `usage`
 */
export function projectName(input: string): string {
  if (pattern.test(input)) return input.toLowerCase();
  throw new MintError('usage', `"${printable(input.slice(0, 40))}" is no name of a project`, {
    hint: 'it has 1 to 63 letters, digits, dots, underscores and hyphens, and starts with a letter or a digit',
  });
}

/** As `debug list` shows it. @throws MintError `usage` */
export function leaseId(input: string): string {
  if (/^[0-9a-f]{12}$/.test(input)) return input;
  throw new MintError('usage', `"${printable(input.slice(0, 40))}" is no lease`, {
    hint: '`mint-ssh debug list` shows the ones there are',
  });
}
