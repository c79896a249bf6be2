/**
 * The text of Mint's trust-on-first-use file: a line `<vm>=SHA256:<43 base64 characters>` for each VM.
 *
 * Mint's parser trims a line, skips blank ones and those that start with `#`, splits at the first `=`, and uses the last
 * line of a name. We read the same lines, and refuse lines that Mint would ignore or guess: a line that is about a VM but
 * has no fingerprint must never count as "no pin yet".
 *
 * Texts are the file's bytes as latin1, so that unknown bytes are written back unchanged.
 */

/** The entry of one VM. Lines are counted from 1. */
export type Finding =
  | { readonly kind: 'absent' }
  | { readonly kind: 'pin'; readonly fingerprint: string }
  | { readonly kind: 'bad'; readonly reason: string; readonly line: number };

/** A larger file is refused. */
export const knownHostsBytes = 4 * 1024 * 1024;

const fingerprintPattern = /^SHA256:[A-Za-z0-9+/]{43}$/;
/** The characters that Mint trims from a line's ends, except the newline. */
const blanks = ' \t\v\f\r';
const byteOrderMark = '\xef\xbb\xbf';

/** @returns whether the text is a fingerprint of Mint and OpenSSH: SHA-256, base64 without padding */
export function isFingerprint(text: string): boolean {
  return fingerprintPattern.test(text);
}

/** @returns the entry of `vm`, a name in lower case; one search through the text */
export function findPin(text: string, vm: string): Finding {
  return findingOf(entriesAbout(text, vm), text);
}

/** @returns the entries of all names, in lower case and in the order of the file */
export function findPins(text: string): Map<string, Finding> {
  const entries = new Map<string, Entry[]>();
  for (let start = 0; start < text.length; ) {
    const entry = entryAt(text, start);
    const name = entry.name.toLowerCase();
    const about = entries.get(name);
    if (about !== undefined) about.push(entry);
    else if (name !== '') entries.set(name, [entry]);
    start = entry.next;
  }
  return new Map([...entries].map(([name, about]) => [name, findingOf(about, text)]));
}

/** @returns the text with `vm` pinned to `fingerprint`: its last line is replaced in place, or a line is added */
export function withPin(text: string, vm: string, fingerprint: string): string {
  const entries = [...entriesAbout(text, vm)];
  const last = entries.pop();
  if (last === undefined) {
    const complete = text === '' || text.endsWith('\n') ? text : `${text}\n`;
    return `${complete}${vm}=${fingerprint}\n`;
  }
  // Mint may spell the name with capitals, and would not find our spelling.
  const name = /^[A-Za-z0-9._-]+$/.test(last.name) ? last.name : vm;
  const ending = /\r?\n$/.exec(text.slice(last.start, last.next))?.[0] ?? '\n';
  const replaced = `${text.slice(0, last.start)}${name}=${fingerprint}${ending}${text.slice(last.next)}`;
  return cut(replaced, entries);
}

/** @returns the text without the lines of `vm` */
export function withoutPin(text: string, vm: string): string {
  return cut(text, [...entriesAbout(text, vm)]);
}

/** A line: `name` as it is spelled, empty for blanks and comments; `value` is undefined without a `=`. */
interface Entry {
  readonly name: string;
  readonly value: string | undefined;
  /** Whether blanks or a byte order mark surround the name, so that Mint would read another name. */
  readonly blurred: boolean;
  readonly start: number;
  /** Where the next line starts. */
  readonly next: number;
}

function* entriesAbout(text: string, vm: string): Generator<Entry> {
  // Lower-casing keeps the length of latin1, so that indexes are valid in both texts.
  const lower = text.toLowerCase();
  for (let at = lower.indexOf(vm); at >= 0; ) {
    const entry = entryAt(text, text.lastIndexOf('\n', at) + 1);
    if (entry.name.toLowerCase() === vm) yield entry;
    at = lower.indexOf(vm, entry.next);
  }
}

function entryAt(text: string, start: number): Entry {
  const newline = text.indexOf('\n', start);
  const next = newline < 0 ? text.length : newline + 1;
  const line = trimmed(text.slice(start, newline < 0 ? text.length : newline));
  if (line === '' || line.startsWith('#')) return { name: '', value: undefined, blurred: false, start, next };
  const equals = line.indexOf('=');
  const spelled = equals < 0 ? line : line.slice(0, equals);
  // Also in the middle of a file: the lines above may have been removed.
  const bare = spelled.startsWith(byteOrderMark) ? spelled.slice(3) : spelled;
  const name = trimmed(bare);
  const value = equals < 0 ? undefined : line.slice(equals + 1);
  return { name, value, blurred: name !== spelled, start, next };
}

/** A pattern for trailing blanks would take quadratic time. */
function trimmed(text: string): string {
  let start = 0;
  let end = text.length;
  while (start < end && blanks.includes(text.charAt(start))) start += 1;
  while (end > start && blanks.includes(text.charAt(end - 1))) end -= 1;
  return text.slice(start, end);
}

/** The last line counts, as in Mint, unless two spellings of the name disagree. */
function findingOf(entries: Iterable<Entry>, text: string): Finding {
  let last: Entry | undefined;
  for (const entry of entries) {
    if (last !== undefined && last.name !== entry.name && last.value !== entry.value) {
      const reason = `"${last.name}" and "${entry.name}" have different keys`;
      return { kind: 'bad', reason, line: lineNumber(text, entry.start) };
    }
    last = entry;
  }
  if (last === undefined) return { kind: 'absent' };
  const reason = faultOf(last);
  if (reason !== undefined) return { kind: 'bad', reason, line: lineNumber(text, last.start) };
  return { kind: 'pin', fingerprint: last.value ?? '' };
}

function faultOf({ value, blurred }: Entry): string | undefined {
  if (value === undefined) return 'the line has no "="';
  if (blurred) return 'the name has invalid characters around it';
  if (value === '') return 'the line has no fingerprint';
  if (!isFingerprint(value)) return 'what follows "=" is not "SHA256:" and 43 base64 characters';
  return undefined;
}

function lineNumber(text: string, start: number): number {
  let line = 1;
  for (let at = text.indexOf('\n'); at >= 0 && at < start; at = text.indexOf('\n', at + 1)) line += 1;
  return line;
}

function cut(text: string, entries: readonly Entry[]): string {
  let kept = '';
  let from = 0;
  for (const entry of entries) {
    kept += text.slice(from, entry.start);
    from = entry.next;
  }
  return kept + text.slice(from);
}
