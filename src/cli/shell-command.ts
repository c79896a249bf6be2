/**
 * Commands that an error, a hint or a note tells the user to run. Nothing that a VM, a tag, AWS or another program
 * says may change what such a command does, so every value in one goes through this file. Values with a fixed form
 * that was checked when they were read (VM names, profile names, fingerprints) may be used as they are;
 * test/cli/shell-command.test.ts lists them.
 */
import { printable } from './terminal.ts';

/**
 * One word for a POSIX shell, and safe to show: in single quotes, except where every character is plain. A character
 * that cannot be shown stays escaped as by `printable`, so the command then fails instead of doing something else.
 */
export function shellWord(text: string): string {
  const shown = printable(text);
  return /^[\w@%+=:,./][\w@%+=:,./-]*$/.test(shown) ? shown : `'${shown.replaceAll("'", "'\\''")}'`;
}

/** A template tag: every value becomes one word, as by `shellWord`. `` command`chmod go-w ${path}` `` */
export function command(text: TemplateStringsArray, ...values: readonly string[]): string {
  return text.reduce((before, part, index) => `${before}${shellWord(values[index - 1] ?? '')}${part}`);
}

/**
 * An identifier that AWS or another program named, for a command.
 * @param placeholder a word in capitals that the command contains instead if the text does not have the form
 */
export function idOr(text: string | undefined, form: RegExp, placeholder: string): string {
  return text !== undefined && form.test(text) ? text : placeholder;
}

/** The form of an EC2 resource's identifier: `i-0123456789abcdef0`, `subnet-…`. */
export const ec2Id = /^[a-z]{1,20}-[0-9a-f]{8,32}$/;
