/** The interface of a command: what a file in `src/commands/` exports, and what its `run` gets. */

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
  /** The words after `--`; undefined if there was no `--`. */
  readonly rest: readonly string[] | undefined;
  readonly globals: GlobalOptions;
}

/** One option, as `util.parseArgs` takes it, and as help, completion and manual show it. */
export interface Option {
  readonly type: 'string' | 'boolean';
  readonly short?: string;
  readonly multiple?: boolean;
  /** The placeholder for its value in help: `PATH`, `DIR`, `NAME`. */
  readonly value?: string;
  /** One line without a full stop. Required unless the option is hidden. Help adds the subcommands and the values. */
  readonly description?: string;
  /** The words that it accepts, or for each subcommand its own; or what shells ask `mint-ssh completion` for. */
  readonly values?: Values | Readonly<Record<string, readonly string[]>>;
  /** Used only by mint-ssh itself; not shown in help. */
  readonly hidden?: boolean;
}

/** A list of words, or the kind of names that `mint-ssh completion KIND` prints. */
export type Values = readonly string[] | 'profiles' | 'regions';

export type Options = Readonly<Record<string, Option>>;

/** A subcommand: what it takes (`show VM`), one line about it, and the names of the options that it takes. */
export type Word = readonly [usage: string, description: string, options: readonly string[]];

/** A command. The parser, `--help`, shell completion and the manual page are made from the table of commands. */
export interface Command {
  /** One line: the words after `mint-ssh`. If the first argument is `VM`, shells complete it with the VMs' names. */
  readonly usage: string;
  /** The text of `--help` after the usage line. */
  readonly help: string;
  /** Its subcommands, if it has any. */
  readonly words?: readonly Word[];
  readonly options: Options;
  /** It goes on to log in: AWS credentials that it resolves are passed to the agent, which is started for that. */
  readonly logsIn?: true;
  /** Resolves to the exit status; throws a MintError on failure. */
  readonly run: (invocation: Invocation) => Promise<number>;
}

/** An entry of the command table: its line in the overview, and a loader for the command itself. */
export interface CommandEntry {
  readonly summary: string;
  readonly load: () => Promise<{ readonly command: Command }>;
}

/** The commands by the word that the user types. */
export type CommandTable = Readonly<Record<string, CommandEntry>>;
