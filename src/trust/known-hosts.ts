/**
 * The text of Mint's trust-on-first-use file: a line `<vm>=SHA256:<43 base64 characters>` for each VM.
 *
 * Mint's parser trims a line, skips blank ones and those that start with `#`, splits at the first `=`, and
 * lets the last line win. We read the same lines, and refuse where Mint would see nothing or guess: what
 * looks like a line about a VM but holds no fingerprint must never pass for "no pin yet".
 *
 * Texts are the file's bytes as latin1, so that what we do not understand goes back as it came.
 */

/** What the file says about one VM. Lines are counted from 1. */
export type Finding =
  | { readonly kind: 'absent' }
  | { readonly kind: 'pin'; readonly fingerprint: string }
  | { readonly kind: 'bad'; readonly reason: string; readonly line: number };

/** A larger file is refused. */
export const knownHostsBytes = 4 * 1024 * 1024;

const fingerprintPattern = /^SHA256:[A-Za-z0-9+/]{43}$/;
/** What Mint's trimming takes off a line's ends; never a newline, which ends the line. */
const blanks = ' \t\v\f\r';
const byteOrderMark = '\xef\xbb\xbf';

/** Whether this is a fingerprint as Mint and OpenSSH write it: SHA-256, base64 without padding. */
export function isFingerprint(text: string): boolean {
  return fingerprintPattern.test(text);
}

/** What `text` says about `vm`, a name in lower case. Costs one search through the text. */
export function findPin(text: string, vm: string): Finding {
  return findingOf(entriesAbout(text, vm), text);
}

/** What `text` says about each name it has, in lower case and in the order of the file. */
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

/** The text with `vm` pinned to `fingerprint`: its last line is replaced in place, else one is added. */
export function withPin(text: string, vm: string, fingerprint: string): string {
  const entries = [...entriesAbout(text, vm)];
  const last = entries.pop();
  if (last === undefined) {
    const complete = text === '' || text.endsWith('\n') ? text : `${text}\n`;
    return `${complete}${vm}=${fingerprint}\n`;
  }
  // Mint may spell the name with capitals; it would not find it in ours.
  const name = /^[A-Za-z0-9._-]+$/.test(last.name) ? last.name : vm;
  const ending = /\r?\n$/.exec(text.slice(last.start, last.next))?.[0] ?? '\n';
  const replaced = `${text.slice(0, last.start)}${name}=${fingerprint}${ending}${text.slice(last.next)}`;
  return cut(replaced, entries);
}

/** The text without the lines about `vm`. */
export function withoutPin(text: string, vm: string): string {
  return cut(text, [...entriesAbout(text, vm)]);
}

/** A line: `name` as it is spelled, empty for blanks and comments; `value` is undefined without a `=`. */
interface Entry {
  readonly name: string;
  readonly value: string | undefined;
  /** Blanks or a byte order mark surround the name: Mint would take it for another name. */
  readonly blurred: boolean;
  readonly start: number;
  /** Where the next line starts. */
  readonly next: number;
}

function* entriesAbout(text: string, vm: string): Generator<Entry> {
  // latin1 keeps its length in lower case, so that an index in one is an index in the other.
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
  // In the middle of a file, too: the lines above it may be removed.
  const bare = spelled.startsWith(byteOrderMark) ? spelled.slice(3) : spelled;
  const name = trimmed(bare);
  const value = equals < 0 ? undefined : line.slice(equals + 1);
  return { name, value, blurred: name !== spelled, start, next };
}

/** A pattern that looks for blanks before the end would look from each of them: a time with the square of their number. */
function trimmed(text: string): string {
  let start = 0;
  let end = text.length;
  while (start < end && blanks.includes(text.charAt(start))) start += 1;
  while (end > start && blanks.includes(text.charAt(end - 1))) end -= 1;
  return text.slice(start, end);
}

/** The last line wins, as it does for Mint, unless two spellings of the name disagree. */
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
  if (blurred) return 'there are characters about the name that do not belong to it';
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
