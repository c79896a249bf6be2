/** The command table, fully loaded, in the form that shell completion and the manual page use. */
import { globalOptions } from './arguments.ts';
import type { Command, CommandTable, Option, Options } from './command.ts';

export interface CommandText {
  readonly word: string;
  readonly summary: string;
  readonly command: Command;
}

/** What `mint-ssh completion KIND` prints names of. */
export type NameKind = 'vms' | 'keys' | 'profiles' | 'regions';

export interface OptionWord {
  /** The name without dashes. */
  readonly long: string;
  readonly short: string | undefined;
  /** What its value is; undefined if it takes none. */
  readonly value: 'file' | 'directory' | 'other' | undefined;
  /** The words that complete its value, or the KIND of names that `mint-ssh completion KIND` prints. */
  readonly values: readonly string[] | NameKind | undefined;
  readonly description: string;
}

export interface ActionWord {
  readonly word: string;
  readonly description: string;
  /** The names that complete its first argument, and those that complete its second. */
  readonly takes: readonly (NameKind | undefined)[];
}

export interface CommandWord extends ActionWord {
  readonly options: readonly OptionWord[];
  readonly actions: readonly ActionWord[];
}

/** Loads every command of the table, in its order. */
export async function loadCommands(table: CommandTable): Promise<readonly CommandText[]> {
  const loaded = Object.entries(table).map(async ([word, { summary, load }]) => {
    const { command } = await load();
    return { word, summary, command };
  });
  return await Promise.all(loaded);
}

/** @returns what a shell completes: commands, subcommands, their names and options */
export function commandWords(commands: readonly CommandText[]): readonly CommandWord[] {
  return commands.map(({ word, summary, command }) => ({
    word,
    description: summary,
    takes: command.words === undefined ? [taken(command.usage)[0]] : [],
    options: optionWords(command.options),
    actions: actionWords(command.words ?? []),
  }));
}

/** The options of every command: `--help` is one of them, `--version` is not. */
export function globalOptionWords(): readonly OptionWord[] {
  return optionWords(globalOptions);
}

/** The subcommands. One that the help lists twice with different arguments occurs once. */
function actionWords(words: NonNullable<Command['words']>): readonly ActionWord[] {
  const found = new Map<string, ActionWord>();
  for (const [usage, description] of words) {
    const [word = ''] = usage.split(' ');
    const earlier = found.get(word);
    const takes = taken(usage);
    found.set(word, {
      word,
      description: earlier?.description ?? description,
      takes: takes.length > 0 ? takes : (earlier?.takes ?? []),
    });
  }
  return [...found.values()];
}

/** What the first two arguments of `attach PROFILE VM` are. */
function taken(usage: string): readonly (NameKind | undefined)[] {
  const [, ...args] = usage.split(' ');
  return args.slice(0, 2).map((arg) => {
    if (/^\[?VM\b/.test(arg)) return 'vms';
    return /^\[?PROFILE\b/.test(arg) ? 'keys' : undefined;
  });
}

function optionWords(options: Options): readonly OptionWord[] {
  return Object.entries(options)
    .filter(([, { hidden }]) => hidden !== true)
    .map(([long, { short, type, value, values, description = '' }]) => ({
      long,
      short,
      value: type === 'boolean' ? undefined : kindOf(value),
      values: wordsOf(values),
      description,
    }));
}

/** Values that differ by subcommand are offered together. */
function wordsOf(values: Option['values']): OptionWord['values'] {
  if (values === undefined || typeof values === 'string' || isList(values)) return values;
  return [...new Set(Object.values(values).flat())];
}

function isList(values: NonNullable<Option['values']>): values is readonly string[] {
  return Array.isArray(values);
}

function kindOf(value: string | undefined): OptionWord['value'] {
  if (value === 'DIR') return 'directory';
  return value === 'PATH' || value === 'FILE' ? 'file' : 'other';
}
