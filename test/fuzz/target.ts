/** A parser of untrusted bytes, with its promises for every input. */
import assert from 'node:assert/strict';
import { printable } from '../../src/cli/terminal.ts';
import { type ErrorCode, MintError } from '../../src/errors.ts';

export interface Target {
  readonly name: string;
  /** Valid and nearly valid inputs; the corpus has more. */
  readonly seeds: () => Buffer[];
  /** Words of the format. */
  readonly dictionary: readonly (string | Buffer)[];
  /** The length of the longest changed input, in bytes. */
  readonly longest: number;
  /**
   * Parses the input.
   * @returns a few words that tell the kinds of outcome apart
   * @throws Error if the parser breaks a promise
   */
  readonly run: (input: Buffer) => string;
}

/** The inputs are short: an input that takes more processor time than this is a failure. */
const maxCpuMs = 2000;

/**
 * Runs a target on one input, and checks what every parser promises.
 *
 * @returns the outcome, as the target names it
 * @throws Error if the parser breaks a promise, changes its input or is slow
 */
export function run(target: Target, input: Buffer): string {
  const before = process.cpuUsage();
  const given = Buffer.from(input);
  const outcome = target.run(given);
  const { user, system } = process.cpuUsage(before);
  assert.ok(given.equals(input), 'the parser changed its input');
  assert.ok((user + system) / 1000 < maxCpuMs, `the parser takes more than ${maxCpuMs} ms`);
  return outcome;
}

/**
 * Runs a parser that may throw a MintError of one of these codes, with a message that is safe to print.
 *
 * @returns the parsed value, or the refusal
 * @throws Error for every other error
 */
export function attempt<T>(codes: readonly ErrorCode[], parse: () => T): T | Refusal {
  try {
    return parse();
  } catch (error) {
    if (!(error instanceof MintError)) throw error;
    assert.ok(codes.includes(error.code), `refused as ${error.code}: ${error.message}`);
    for (const text of [error.message, error.hint ?? '']) {
      assert.equal(printable(text), text, 'the message has characters that act on a terminal');
      assert.ok(text.length < 2000, 'the message is long');
    }
    return new Refusal(error);
  }
}

/** A MintError that the parser announced. */
export class Refusal {
  readonly code: ErrorCode;
  readonly message: string;

  constructor({ code, message }: MintError) {
    this.code = code;
    this.message = message;
  }

  /** The message without the parts that differ from one input to the next. */
  get words(): string {
    return `${this.code}: ${this.message.replace(/"[^"]*"/g, '""').replace(/\d+/g, '0')}`.slice(0, 100);
  }
}
