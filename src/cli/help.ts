/** `--help`: of a command, and of the program. */
import { version } from '../version.ts';
import { globalOptions } from './arguments.ts';
import type { Command, CommandTable, Option, Options } from './command.ts';

/** What a person reads of an option: how it is written, and what it does. */
export interface OptionText {
  readonly form: string;
  readonly description: string;
}

/** The options that are shown, in the order of the table. */
export function optionTexts(options: Options): OptionText[] {
  return Object.entries(options)
    .filter(([, option]) => option.hidden !== true)
    .map(([name, option]) => ({ form: optionForm(name, option), description: option.description ?? '' }));
}

/** `-y, --yes` or `--file PATH`. */
function optionForm(name: string, { short, type, value }: Option): string {
  const long = type === 'string' ? `--${name} ${value ?? 'VALUE'}` : `--${name}`;
  return short === undefined ? long : `-${short}, ${long}`;
}

export function commandHelp({ usage, help, words = [], options }: Command): string {
  const own = optionTexts(options).map(asPair);
  const width = widthOf([...own, ...globalPairs]);
  const parts = [`usage: mint-ssh ${usage}`, help.trimEnd(), lines(words), lines(own, width)];
  return [...parts.filter((part) => part !== ''), `${lines(globalPairs, width)}\n`].join('\n\n');
}

export function overview(commands: CommandTable): string {
  const summaries = Object.entries(commands).map(([word, { summary }]) => [word, summary] as const);
  return `mint-ssh ${version}: plain \`ssh vmname\` to an EC2 VM, with no key to manage and no prompt to dismiss

usage: mint-ssh COMMAND …

${lines(summaries)}

\`mint-ssh COMMAND --help\` says more. Options of every command:
${lines(globalPairs)}
`;
}

type Pair = readonly [left: string, right: string];

function asPair({ form, description }: OptionText): Pair {
  return [form, description];
}

const globalPairs = optionTexts(globalOptions).map(asPair);

/** Of the left column; a very long entry does not count, and has its line to itself. */
function widthOf(pairs: readonly Pair[]): number {
  return Math.max(0, ...pairs.map(([left]) => left.length).filter((length) => length <= 34)) + 2;
}

function lines(pairs: readonly Pair[], width = widthOf(pairs)): string {
  return pairs
    .map(([left, right]) => {
      const start = left.length < width ? left.padEnd(width) : `${left}\n  ${' '.repeat(width)}`;
      return `  ${start}${right}`;
    })
    .join('\n');
}
