/** What is fuzzed: a parser of foreign bytes, with what it promises. */
import assert from 'node:assert/strict';
import { printable } from '../../src/cli/terminal.ts';
import { type ErrorCode, MintError } from '../../src/errors.ts';

export interface Target {
  readonly name: string;
  /** The modules that are under test, below `src/`: their coverage is reported. */
  readonly modules: readonly string[];
  /** Inputs to begin with, beside the corpus. */
  readonly seeds: () => Buffer[];
  /** Words of its language. */
  readonly dictionary: readonly (string | Buffer)[];
  /** No input is longer, in bytes. */
  readonly longest: number;
  /**
   * Parses the input, and throws where a promise is broken. Gives a few words for what came of it: an input
   * that leads to words not heard before is kept, like one that reaches new code.
   */
  readonly run: (input: Buffer) => string;
}

/**
 * Runs a parser that may refuse: with a MintError of one of these codes, in words that can be shown. Gives
 * what it gave, or the refusal.
 */
export function attempt<T>(codes: readonly ErrorCode[], parse: () => T): T | Refusal {
  try {
    return parse();
  } catch (error) {
    if (!(error instanceof MintError)) throw error;
    assert.ok(codes.includes(error.code), `refused as ${error.code}: ${error.message}`);
    for (const text of [error.message, error.hint ?? '']) {
      assert.equal(printable(text), text, 'what is said of it is not safe to show');
      assert.ok(text.length < 2000, 'what is said of it is long');
    }
    return new Refusal(error);
  }
}

/** A refusal as a parser promises it. */
export class Refusal {
  readonly code: ErrorCode;
  readonly message: string;

  constructor({ code, message }: MintError) {
    this.code = code;
    this.message = message;
  }

  /** Without what differs from one input to the next. */
  get words(): string {
    return `${this.code}: ${this.message.replace(/"[^"]*"/g, '""').replace(/\d+/g, '0')}`.slice(0, 100);
  }
}
