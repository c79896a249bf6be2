/** What a person is asked, and how their words count; the same on every channel. */
import { stripVTControlCharacters } from 'node:util';
import { printable } from './terminal.ts';

export interface Question {
  /** Shown above the prompt; plain text, any control character in it is shown as `\u{…}`. */
  readonly framed: string;
  /** One line, with its last blank: "Are you sure you want to continue connecting (yes/no/[fingerprint])? " */
  readonly prompt: string;
  /** The full words that mean yes. Words of small letters count in any case, everything else exactly. */
  readonly accepts: readonly string[];
  /** How long the question stands; `Infinity` for ever. */
  readonly seconds: number;
  /** After how many answers that are neither yes nor no it is a no; 3 unless told. */
  readonly attempts?: number;
  /** Withdraws the question. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * `timeout`: no one answered in time, or the question was withdrawn.
 * `nobody`: there is no one to ask on any channel.
 */
export type Answer = 'yes' | 'no' | 'timeout' | 'nobody';

/**
 * OpenSSH's rules (confirm() in sshconnect.c): an empty line is a no. Beyond those, `y` and `n` are enough, except for
 * a host key: there ssh's own question takes the whole word, and so does ours.
 *
 * @returns undefined where the line is neither yes nor no
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

/** What OpenSSH says to an answer that is neither. */
export function askedAgain(accepts: readonly string[]): string {
  return accepts.some(isFingerprint)
    ? "Please type 'yes', 'no' or the fingerprint: "
    : "Please type 'yes' or 'no': ";
}

/** The lines above the prompt, with nothing in them that a terminal or a dialog would obey. */
export function plainLines({ framed }: Question): string[] {
  if (framed === '') return [];
  return stripVTControlCharacters(framed).replace(/\n$/, '').split('\n').map(printable);
}
