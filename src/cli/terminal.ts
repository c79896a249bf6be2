/**
 * Everything a person sees goes through this file.
 *
 * The rules: progress, warnings, errors and questions go to stderr, one `mint-ssh: …` line each; stdout
 * carries only what a command was asked to print, and in `proxy` not even that: there it is the SSH
 * stream. Text that came from elsewhere (tags, servers, key comments) passes `printable` first.
 */
import { fstatSync, statSync, writeSync } from 'node:fs';
import { MintError } from '../errors.ts';
import { writeToTerminal } from './foreground.ts';

/** Makes foreign text safe to show: C0, C1, bidirectional and invisible characters become `\u{…}`. */
export function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Co}\p{Cn}\p{Cs}\p{Zl}\p{Zp}]/gu, (character) => {
    return `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`;
  });
}

/** One line for the person, on stderr. */
export function say(line: string): void {
  writeStderr(`mint-ssh: ${line}\n`);
}

/** A hint says what to do next. */
export function hint(line: string): void {
  say(`hint: ${line}`);
}

/** Lines as they are, on stderr: diffs, framed warnings. */
export function show(text: string): void {
  writeStderr(text.endsWith('\n') ? text : `${text}\n`);
}

/**
 * What a person must see even where ssh sends our stderr to /dev/null, as it does under ControlPersist:
 * stderr where that is something, else the terminal itself.
 */
export function warn(text: string): void {
  const lines = text.endsWith('\n') ? text : `${text}\n`;
  if (!isNowhere(2) || !writeToTerminal(lines)) writeStderr(lines);
}

function isNowhere(descriptor: number): boolean {
  try {
    const { dev, ino, rdev } = fstatSync(descriptor);
    // It does so nowhere else: Windows has no ControlPersist.
    if (process.platform === 'win32') return false;
    const nowhere = statSync('/dev/null');
    return dev === nowhere.dev && ino === nowhere.ino && rdev === nowhere.rdev;
  } catch {
    return true;
  }
}

/** What a command was asked to print, on stdout. Never called on the proxy's path. */
export function print(text: string): void {
  try {
    writeAll(1, text.endsWith('\n') ? text : `${text}\n`);
  } catch (error) {
    // `| head` has seen enough.
    if ((error as NodeJS.ErrnoException).code !== 'EPIPE') throw error;
  }
}

/** Tells the person why a command failed; the stack only with `--verbose`. */
export function reportError(error: unknown, verbose: boolean): void {
  const lines =
    error instanceof MintError
      ? [
          // Whoever made it has escaped what is foreign in it; here nothing slips through that was forgotten.
          `error: ${printable(error.message)} (${error.code})`,
          ...(error.hint === undefined ? [] : [`hint: ${printable(error.hint)}`]),
        ]
      : [
          `error: ${printable(error instanceof Error ? error.message : String(error))} (io-failed)`,
          'hint: this is not a failure we foresaw: run again with --verbose and report what it prints',
        ];
  warn(lines.map((line) => `mint-ssh: ${line}\n`).join(''));
  if (verbose) {
    for (let at: unknown = error; at instanceof Error; at = at.cause) show(at.stack ?? String(at));
  }
}

function writeStderr(text: string): void {
  try {
    writeAll(2, text);
  } catch {
    // Whoever read our stderr is gone; there is no one left to tell.
  }
}

function writeAll(descriptor: number, text: string): void {
  const bytes = Buffer.from(text);
  for (let written = 0; written < bytes.length; ) {
    try {
      written += writeSync(descriptor, bytes, written);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
    }
  }
}
