/** What a file in `src/commands/` exports, and what it is called with. */

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

/** One option, as `util.parseArgs` takes it, and as help, completion and manual show it. */
export interface Option {
  readonly type: 'string' | 'boolean';
  readonly short?: string;
  readonly multiple?: boolean;
  /** What stands for its value: `PATH`, `DIR`, `NAME`. */
  readonly value?: string;
  /** One line, without a full stop. Every option has one that is not hidden. */
  readonly description?: string;
  /** For the use of mint-ssh itself. */
  readonly hidden?: boolean;
}

export type Options = Readonly<Record<string, Option>>;

/**
 * A subcommand with what it takes (`show VM`), one line about it, and the names of the options that its own help shows;
 * without them its help shows all options of the command.
 */
export type Word = readonly [usage: string, description: string, options?: readonly string[]];

/** One table of these makes the parser, `--help`, the shells' completion and the manual page. */
export interface Command {
  /** One line: the words behind `mint-ssh`. `VM` as the first behind a word is completed with the VMs' names. */
  readonly usage: string;
  /** The text of `--help` behind the usage line: what it does. */
  readonly help: string;
  /** The words it goes on with, where it does. */
  readonly words?: readonly Word[];
  readonly options: Options;
  /** Resolves to the exit status; throws a MintError for everything that went wrong. */
  readonly run: (invocation: Invocation) => Promise<number>;
}

/** One word of the command line: what the overview says of it, and the rest when it is needed. */
export interface CommandEntry {
  readonly summary: string;
  readonly load: () => Promise<{ readonly command: Command }>;
}

/** By the word the user types. */
export type CommandTable = Readonly<Record<string, CommandEntry>>;
