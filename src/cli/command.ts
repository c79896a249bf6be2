/** What a file in `src/commands/` exports, and what it is called with. */
import type { ParseArgsOptionsConfig } from 'node:util';

/** Options that every command takes. */
export interface GlobalOptions {
  readonly configDir: string | undefined;
  readonly profile: string | undefined;
  readonly region: string | undefined;
  readonly verbose: boolean;
  readonly timing: boolean;
}

export interface Invocation {
  readonly positionals: readonly string[];
  /** The command's own options, as `util.parseArgs` gives them. */
  readonly values: Readonly<Record<string, string | boolean | (string | boolean)[] | undefined>>;
  /** What stood behind `--`; undefined where there was none. */
  readonly rest: readonly string[] | undefined;
  readonly globals: GlobalOptions;
}

export interface Command {
  /** One line: the words behind `mint-ssh`. */
  readonly usage: string;
  /** The text of `--help`, behind the usage line: what it does, then one line for each option. */
  readonly help: string;
  readonly options: ParseArgsOptionsConfig;
  /** Resolves to the exit status; throws a MintError for everything that went wrong. */
  readonly run: (invocation: Invocation) => Promise<number>;
}
