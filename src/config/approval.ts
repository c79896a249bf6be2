import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import { isatty } from 'node:tty';
import { inForeground } from '../cli/foreground.ts';
import { MintError } from '../errors.ts';

const answerBytes = 256;

/**
 * Asks a yes/no question on the terminal and waits for the line; anything but a yes is a no. Throws `usage`
 * where there is no terminal to ask on.
 */
export function askApproval(question: string): boolean {
  const descriptor = openTerminal();
  if (descriptor === undefined) {
    throw new MintError('usage', 'there is no terminal to ask on, and nothing was changed', {
      hint: 'read what it would do above, then run it again with --yes',
    });
  }
  try {
    writeSync(descriptor === 0 ? 2 : descriptor, `mint-ssh: ${question} (yes/no) `);
    const answer = Buffer.alloc(answerBytes);
    const length = readSync(descriptor, answer);
    return /^y(?:es)?$/i.test(answer.toString('utf8', 0, length).trim());
  } finally {
    if (descriptor !== 0) closeSync(descriptor);
  }
}

/** The controlling terminal, also where stdin is a pipe; else stdin when it is one. */
function openTerminal(): number | undefined {
  // A job in the background would be stopped by its terminal instead of getting an answer.
  if (!inForeground()) return undefined;
  try {
    return openSync('/dev/tty', 'r+');
  } catch {
    return isatty(0) ? 0 : undefined;
  }
}
