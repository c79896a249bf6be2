/** The texts of `--help`, for a command and for the program. */
import { version } from '../version.ts';
import { globalOptions } from './arguments.ts';
import type { Command, CommandTable, Option, Options, Word } from './command.ts';
import { wrap } from './wrap.ts';

/** An option in the help: how it is written, and what it does. */
export interface OptionText {
  readonly form: string;
  readonly description: string;
}

/** The options that are shown, in the order of the table. */
export function optionTexts(options: Options): OptionText[] {
  return Object.entries(options)
    .filter(([, option]) => option.hidden !== true)
    .map(([name, option]) => ({ form: optionForm(name, option), description: describe(option) }));
}

/** The options of a command; each description begins with the subcommands that take it, unless all do. */
export function commandOptionTexts({ options, words = [] }: Command): OptionText[] {
  const shown = Object.entries(options).filter(([, { hidden }]) => hidden !== true);
  return shown.map(([name, option]) => {
    const takers = words.filter(([, , own]) => own.includes(name)).map(([form]) => form.split(' ')[0]);
    const form = optionForm(name, option);
    const description = describe(option);
    const isCommon = takers.length === words.length || isByWord(option.values);
    if (isCommon) return { form, description };
    const who = takers.length === 0 ? 'without a subcommand' : [...new Set(takers)].join(', ');
    return { form, description: `${who}: ${description}` };
  });
}

function isByWord(values: Option['values']): values is Readonly<Record<string, readonly string[]>> {
  return typeof values === 'object' && !Array.isArray(values);
}

/** The description with the accepted values: those of one subcommand, if a `word` is given. */
function describe({ description = '', values }: Option, word = ''): string {
  if (values === undefined || typeof values === 'string') return description;
  if (!isByWord(values)) return `${description}: ${values.join(', ')}`;
  const own = values[word];
  if (own !== undefined) return `${description}: ${own.join(', ')}`;
  const lists = Object.entries(values).map(([taker, list]) => `${taker}: ${list.join(', ')}`);
  return lists.join('; ');
}

/** `-y, --yes` or `--file PATH`. */
function optionForm(name: string, { short, type, value }: Option): string {
  const long = type === 'string' ? `--${name} ${value ?? 'VALUE'}` : `--${name}`;
  return short === undefined ? long : `-${short}, ${long}`;
}

/** The width of help texts in characters: fits a terminal of 80 columns. */
const maxWidth = 80;

/**
 * The help of a command, or of one of its subcommands (`hosts accept`).
 *
 * @param word the subcommand; ignored if the command has no subcommand of this name
 */
export function commandHelp(command: Command, word?: string): string {
  const { usage, help, words = [], options } = command;
  const [name = ''] = usage.split(' ');
  const chosen = words.filter(([form]) => form.split(' ')[0] === word);
  const about =
    chosen.length === 0
      ? [usageText(usage), reflow(help), lines(words)]
      : chosen.flatMap(([form, description]) => [usageText(`${name} ${form}`), reflow(description)]);
  const own = (chosen.length === 0 ? commandOptionTexts(command) : subcommandTexts(options, chosen)).map(
    asPair,
  );
  const width = widthOf([...own, ...globalPairs]);
  const parts = [...about, lines(own, width)];
  return [...parts.filter((part) => part !== ''), `${lines(globalPairs, width)}\n`].join('\n\n');
}

function subcommandTexts(options: Options, chosen: readonly Word[]): OptionText[] {
  const named = chosen.flatMap(([, , own]) => own);
  const [word] = chosen[0]?.[0].split(' ') ?? [];
  return Object.entries(options)
    .filter(([name]) => named.includes(name))
    .map(([name, option]) => ({ form: optionForm(name, option), description: describe(option, word) }));
}

/** @returns the text of `mint-ssh help`: one line for each command */
export function overview(commands: CommandTable): string {
  const summaries = Object.entries(commands).map(([word, { summary }]) => [word, summary] as const);
  return `mint-ssh ${version}: plain \`ssh dev\` to your EC2 instances

usage: mint-ssh COMMAND …
       mint-ssh            on a terminal: pick a VM

To begin: \`mint-ssh setup\`, or \`mint-ssh vms\` and \`mint-ssh ssh VM\`

${lines(summaries)}

\`mint-ssh help COMMAND\` says more. Options of every command:
${lines(globalPairs)}
`;
}

type Pair = readonly [left: string, right: string, ...rest: unknown[]];

function asPair({ form, description }: OptionText): Pair {
  return [form, description];
}

const globalPairs = optionTexts(globalOptions).map(asPair);

/** The width of the left column. A very long entry does not count; it gets a line of its own. */
function widthOf(pairs: readonly Pair[]): number {
  return Math.max(0, ...pairs.map(([left]) => left.length).filter((length) => length <= 30)) + 2;
}

function usageText(usage: string): string {
  return wrap(`usage: mint-ssh ${usage}`, maxWidth - 7).join('\n       ');
}

/** Joins the lines of each paragraph and wraps them; indented lines stay as they are. */
function reflow(text: string): string {
  const paragraphs = text.trimEnd().split(/\n{2,}/);
  return paragraphs
    .map((paragraph) =>
      paragraph.split('\n').some((line) => line.startsWith('  '))
        ? paragraph.split('\n').map(continued).join('\n')
        : wrap(paragraph.replaceAll('\n', ' '), maxWidth).join('\n'),
    )
    .join('\n\n');
}

/** Continues an example that is too long on the next line, with a backslash as in a shell. */
function continued(line: string): string {
  if (line.length <= maxWidth) return line;
  const [first = '', ...more] = wrap(line.trimStart(), maxWidth - 8);
  return `  ${[first, ...more].join(' \\\n      ')}`;
}

function lines(pairs: readonly Pair[], width = widthOf(pairs)): string {
  const indent = ' '.repeat(width + 2);
  return pairs
    .map(([left, right]) => {
      const start = left.length < width ? left.padEnd(width) : `${left}\n${indent}`;
      return `  ${start}${wrap(right, maxWidth - width - 2).join(`\n${indent}`)}`;
    })
    .join('\n');
}
