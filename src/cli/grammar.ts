/** The command table, fully loaded, in the form that shell completion and the manual page use. */
import { globalOptions } from './arguments.ts';
import type { Command, CommandTable, Options } from './command.ts';

export interface CommandText {
  readonly word: string;
  readonly summary: string;
  readonly command: Command;
}

export interface OptionWord {
  /** The name without dashes. */
  readonly long: string;
  readonly short: string | undefined;
  /** The placeholder of its value; undefined if it takes none. */
  readonly value: 'file' | 'directory' | 'other' | undefined;
  readonly description: string;
}

export interface ActionWord {
  readonly word: string;
  readonly description: string;
  /** Whether the next argument is the name of a VM. */
  readonly takesVm: boolean;
}

export interface CommandWord extends ActionWord {
  readonly options: readonly OptionWord[];
  readonly actions: readonly ActionWord[];
}

export async function loadCommands(table: CommandTable): Promise<readonly CommandText[]> {
  const loaded = Object.entries(table).map(async ([word, { summary, load }]) => {
    const { command } = await load();
    return { word, summary, command };
  });
  return await Promise.all(loaded);
}

export function commandWords(commands: readonly CommandText[]): readonly CommandWord[] {
  return commands.map(({ word, summary, command }) => ({
    word,
    description: summary,
    takesVm: takesVm(command.usage),
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
    found.set(word, {
      word,
      description: earlier?.description ?? description,
      takesVm: takesVm(usage) || earlier?.takesVm === true,
    });
  }
  return [...found.values()];
}

function takesVm(usage: string): boolean {
  return /^\S+ \[?VM\b/.test(usage);
}

function optionWords(options: Options): readonly OptionWord[] {
  return Object.entries(options)
    .filter(([, { hidden }]) => hidden !== true)
    .map(([long, { short, type, value, description = '' }]) => ({
      long,
      short,
      value: type === 'boolean' ? undefined : kindOf(value),
      description,
    }));
}

function kindOf(value: string | undefined): OptionWord['value'] {
  if (value === 'DIR') return 'directory';
  return value === 'PATH' || value === 'FILE' ? 'file' : 'other';
}
