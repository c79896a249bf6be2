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

/** OpenSSH's rules (confirm() in sshconnect.c): an empty line is a no; undefined is neither yes nor no. */
export function judge(line: string, accepts: readonly string[]): 'yes' | 'no' | undefined {
  const word = line.trim();
  if (word === '' || word.toLowerCase() === 'no') return 'no';
  const matches = (wanted: string) =>
    word === wanted || (/^[a-z]+$/.test(wanted) && word.toLowerCase() === wanted);
  return accepts.some(matches) ? 'yes' : undefined;
}

/** What OpenSSH says to an answer that is neither. */
export function askedAgain(accepts: readonly string[]): string {
  return accepts.some((word) => word.startsWith('SHA256:'))
    ? "Please type 'yes', 'no' or the fingerprint: "
    : "Please type 'yes' or 'no': ";
}

/** The lines above the prompt, with nothing in them that a terminal or a dialog would obey. */
export function plainLines({ framed }: Question): string[] {
  if (framed === '') return [];
  return stripVTControlCharacters(framed).replace(/\n$/, '').split('\n').map(printable);
}
