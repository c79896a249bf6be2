/** Questions to the user, and how answers are read. The rules are the same on every channel. */
import { stripVTControlCharacters } from 'node:util';
import { printable } from './terminal.ts';

export interface Question {
  /** Shown above the prompt; plain text, any control character in it is shown as `\u{…}`. */
  readonly framed: string;
  /** One line, with its last blank: "Are you sure you want to continue connecting (yes/no/[fingerprint])? " */
  readonly prompt: string;
  /** The full words that mean yes. Words of small letters count in any case, everything else exactly. */
  readonly accepts: readonly string[];
  /** How long to wait for an answer; `Infinity` for no limit. */
  readonly seconds: number;
  /** How many answers that are neither yes nor no are allowed before the question counts as a no; default 3. */
  readonly attempts?: number;
  /** Withdraws the question. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * `timeout`: the user did not answer in time, or the question was withdrawn.
 * `cannot-ask`: the user cannot be asked: no terminal and no SSH_ASKPASS program.
 */
export type Answer = 'yes' | 'no' | 'timeout' | 'cannot-ask';

/**
 * OpenSSH's rules (confirm() in sshconnect.c): an empty line is a no. Beyond those, `y` and `n` are enough, except for
 * a host key: there ssh's own question requires the whole word, and so does ours.
 *
 * @returns undefined if the line is neither yes nor no
 */
export function judge(line: string, accepts: readonly string[]): 'yes' | 'no' | undefined {
  const word = line.trim();
  const lower = word.toLowerCase();
  if (word === '' || lower === 'no' || lower === 'n') return 'no';
  if (lower === 'y' && accepts.includes('yes') && !accepts.some(isFingerprint)) return 'yes';
  const matches = (wanted: string) =>
    word === wanted || (/^[a-z]+$/.test(wanted) && word.toLowerCase() === wanted);
  return accepts.some(matches) ? 'yes' : undefined;
}

function isFingerprint(word: string): boolean {
  return word.startsWith('SHA256:');
}

/** OpenSSH's reply to an answer that is neither yes nor no. */
export function askedAgain(accepts: readonly string[]): string {
  return accepts.some(isFingerprint)
    ? "Please type 'yes', 'no' or the fingerprint: "
    : "Please type 'yes' or 'no': ";
}

/** The lines above the prompt, with control characters escaped. */
export function plainLines({ framed }: Question): string[] {
  if (framed === '') return [];
  return stripVTControlCharacters(framed).replace(/\n$/, '').split('\n').map(printable);
}
