/**
 * All output to the user goes through this file.
 *
 * The rules: progress, warnings, errors and questions go to stderr, one `mint-ssh: …` line each; stdout
 * carries only what a command was asked to print, and in `proxy` not even that: there it is the SSH
 * stream. Text that came from elsewhere (tags, servers, key comments) passes `printable` first.
 */

import { closeSync, openSync, writeSync } from 'node:fs';
import { MintError, systemErrorHint } from '../errors.ts';
import { system } from '../platform/system/system.ts';
import { hideProgress } from './progress.ts';
import { writeToConsole } from './windows-console.ts';

/** Makes foreign text safe to show: C0, C1, bidirectional and invisible characters become `\u{…}`. */
export function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Co}\p{Cn}\p{Cs}\p{Zl}\p{Zp}]/gu, (character) => {
    return `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`;
  });
}

/** Prints one line for the user, on stderr. */
export function say(line: string): void {
  writeStderr(`mint-ssh: ${line}\n`);
}

/** Prints a hint: what to do next, on stderr. */
export function hint(line: string): void {
  say(`hint: ${line}`);
}

/** Prints lines without a prefix, on stderr: diffs, framed warnings. */
export function show(text: string): void {
  writeStderr(text.endsWith('\n') ? text : `${text}\n`);
}

/**
 * Prints what the user must see even if ssh has sent our stderr to /dev/null, as it does under ControlPersist: to stderr if
 * it leads somewhere, else to the terminal itself.
 */
export function warn(text: string): void {
  const lines = text.endsWith('\n') ? text : `${text}\n`;
  hideProgress();
  if (!isNowhere(2) || !writeToTerminal(lines)) writeStderr(lines);
}

function isNowhere(descriptor: number): boolean {
  try {
    return system.isNullDevice(descriptor);
  } catch {
    return true;
  }
}

/**
 * Writes to the terminal itself, past any redirection.
 * @returns false without a terminal
 */
function writeToTerminal(text: string): boolean {
  if (!system.isInForeground()) return false;
  try {
    if (system.hasConsole) return writeToConsole(text);
    const terminal = openSync(system.terminal ?? '/dev/tty', 'w');
    try {
      writeSync(terminal, text);
    } finally {
      closeSync(terminal);
    }
    return true;
  } catch {
    return false;
  }
}

/** Prints a command's result on stdout. Never called by the proxy. */
export function print(text: string): void {
  try {
    writeAll(1, text.endsWith('\n') ? text : `${text}\n`);
  } catch (error) {
    // The reader, such as `head`, has closed the pipe.
    if ((error as NodeJS.ErrnoException).code !== 'EPIPE') throw error;
  }
}

/** Prints the result of a command with `--json`. docs/json.md has the fields of each, and what holds for all of them. */
export function printJson(value: object | null): void {
  print(JSON.stringify(value, undefined, 2));
}

/**
 * Prints a result that exists only once, such as a job's user data, and fails if it cannot be written.
 *
 * @throws MintError `io-failed` if stdout is closed, full, or /dev/null (which Node opens in place of a closed one)
 */
export function printOrFail(text: string): void {
  const lost = (why: string, cause?: unknown) =>
    new MintError('io-failed', `cannot write to stdout: ${why}`, { hint: 'redirect it into a file', cause });
  if (isNowhere(1)) throw lost('it is closed, or /dev/null');
  try {
    writeAll(1, text.endsWith('\n') ? text : `${text}\n`);
  } catch (error) {
    throw lost((error as Error).message, error);
  }
}

/** The lines that `reportError` writes. */
export function errorLines(error: unknown): string {
  const { message, code, hint: remedy } = describe(error);
  // Foreign text is escaped where it enters a message. This is the last line of defence.
  const lines = [`error: ${printable(message)} (${code})`];
  if (remedy !== undefined) lines.push(`hint: ${printable(remedy)}`);
  return lines.map((line) => `mint-ssh: ${line}\n`).join('');
}

/** Tells the user why a command failed. The stack is shown with `--verbose` only. */
export function reportError(error: unknown, verbose: boolean): void {
  warn(errorLines(error));
  if (verbose) {
    for (let at: unknown = error; at instanceof Error; at = at.cause) show(at.stack ?? String(at));
  }
}

interface Description {
  readonly message: string;
  readonly code: string;
  readonly hint: string | undefined;
}

function describe(error: unknown): Description {
  if (error instanceof MintError) return error;
  const message = error instanceof Error ? error.message : String(error);
  const { code, syscall } = Object(error) as Partial<NodeJS.ErrnoException>;
  if (typeof code === 'string' && typeof syscall === 'string') {
    return { message, code: 'io-failed', hint: systemErrorHint(code) };
  }
  return {
    message: `internal error: ${message}`,
    code: 'io-failed',
    hint: 'this is a defect in mint-ssh: run the command again with --verbose and report what it prints',
  };
}

function writeStderr(text: string): void {
  try {
    writeAll(2, text);
  } catch {
    // The reader of our stderr is gone, so the error cannot be reported.
  }
}

function writeAll(descriptor: number, text: string): void {
  hideProgress();
  const bytes = Buffer.from(text);
  for (let written = 0; written < bytes.length; ) {
    try {
      written += writeSync(descriptor, bytes, written);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
    }
  }
}
