/**
 * Our two lines in the user's ssh config: a comment, and the Include. All functions take and return bytes. They decode
 * them as latin1, so that the user's bytes stay unchanged.
 */

import { userInfo } from 'node:os';
import { splitLines } from '../platform/files.ts';

const marker = '# mint-ssh: for `ssh VM`; `mint-ssh ssh-config --remove` takes these two lines out';
/** The comment in a file that we created, and may therefore remove. */
const creatorMarker = '# mint-ssh made this file for `ssh VM`; `mint-ssh ssh-config --remove` undoes it';

/** UTF-8's byte order mark, as latin1. */
const byteOrderMark = '\u00ef\u00bb\u00bf';

export interface IncludeState {
  /** Whether our Include is there, with only comments and copies of it above. */
  readonly inPlace: boolean;
  /** An Include of our file that the user wrote: its line number, and that of the Host or Match line above it. */
  readonly byHand: { readonly line: number; readonly under: number | undefined } | undefined;
}

/**
 * @param bytes the user's ssh config; undefined if it does not exist
 * @param include the value of our Include line, as `quoteInclude` quotes it
 * @param path the file that it includes
 */
export function inspectInclude(bytes: Buffer | undefined, include: string, path: string): IncludeState {
  const lines = splitLines(text(bytes));
  const ours = findPair(lines, latin1(include));
  const head = lines.slice(0, Math.max(0, ours));
  return { inPlace: ours >= 0 && head.every(isHarmless), byHand: findByHand(lines, include, path) };
}

/**
 * @param bytes the user's ssh config; undefined if it does not exist
 * @returns the config with our lines at its top and nowhere else
 */
export function addInclude(bytes: Buffer | undefined, include: string): Buffer {
  const value = latin1(include);
  const { rest, created } = takeOut(text(bytes), value);
  const mark = rest.startsWith(byteOrderMark) ? byteOrderMark : '';
  const body = rest.slice(mark.length);
  const end = /^[^\n]*\r\n/.test(body) ? '\r\n' : '\n';
  const comment = bytes === undefined || created ? creatorMarker : marker;
  return Buffer.from(`${mark}${comment}${end}Include ${value}${end}${body}`, 'latin1');
}

/** @returns the config without our lines; undefined if we created the file and nothing is left of it */
export function removeInclude(bytes: Buffer | undefined, include: string): Buffer | undefined {
  if (bytes === undefined) return undefined;
  const { rest, created } = takeOut(text(bytes), latin1(include));
  return created && rest === '' ? undefined : Buffer.from(rest, 'latin1');
}

/** @returns the config with our Include commented out, so that line numbers stay the same */
export function muteInclude(bytes: Buffer | undefined, include: string, path: string): Buffer {
  const forms = formsOf(include, path);
  const lines = splitLines(text(bytes)).map((line) => (includes(line, forms) ? '#\n' : line));
  return Buffer.from(lines.join(''), 'latin1');
}

function takeOut(from: string, include: string): { rest: string; created: boolean } {
  const lines = splitLines(from);
  const mark = from.startsWith(byteOrderMark) ? byteOrderMark : '';
  let created = false;
  for (let at = findPair(lines, include); at >= 0; at = findPair(lines, include)) {
    created ||= bare(lines[at]) === creatorMarker;
    lines.splice(at, 2);
    if (at === 0 && mark !== '') lines[0] = mark + (lines[0] ?? '');
  }
  return { rest: lines.join(''), created };
}

function findPair(lines: readonly string[], include: string): number {
  return lines.findIndex((line, at) => isMarker(line) && bare(lines[at + 1]) === `Include ${include}`);
}

/** Comments, empty lines and other Includes of our file set no values that would override ours. */
function isHarmless(line: string, at: number, lines: readonly string[]): boolean {
  const content = bare(line);
  if (content === '' || content.startsWith('#')) return true;
  return isMarker(lines[at - 1]) && content.startsWith('Include ');
}

function findByHand(lines: readonly string[], include: string, path: string): IncludeState['byHand'] {
  const forms = formsOf(include, path);
  let under: number | undefined;
  for (const [at, line] of lines.entries()) {
    if (/^\s*(?:host|match)[\s=]/i.test(line)) under = at + 1;
    if (includes(line, forms) && !isMarker(lines[at - 1])) return { line: at + 1, under };
  }
  return undefined;
}

/** The spellings of the path that a user may have written, as latin1. */
function formsOf(include: string, path: string): ReadonlySet<string> {
  const home = `${userInfo().homedir}/`;
  const short = path.startsWith(home) ? [`~/${path.slice(home.length)}`] : [];
  const forms = [path, ...short].flatMap((form) => [form, `"${form}"`]);
  return new Set([include, include.slice(1, -1), ...forms].map(latin1));
}

function includes(line: string, forms: ReadonlySet<string>): boolean {
  const value = /^\s*include(?:\s*=\s*|\s+)(.*)$/i.exec(bare(line))?.[1];
  return value !== undefined && forms.has(value.trim());
}

function isMarker(line: string | undefined): boolean {
  const content = bare(line);
  return content === marker || content === creatorMarker;
}

function bare(line: string | undefined): string {
  const content = line?.startsWith(byteOrderMark) ? line.slice(byteOrderMark.length) : (line ?? '');
  return content.trimEnd();
}

function text(bytes: Buffer | undefined): string {
  return bytes?.toString('latin1') ?? '';
}

function latin1(form: string): string {
  return Buffer.from(form).toString('latin1');
}
