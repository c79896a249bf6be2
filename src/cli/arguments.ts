/** argv → the command word, its options and positionals, by `util.parseArgs`. */
import { parseArgs } from 'node:util';
import { MintError } from '../errors.ts';
import type { Command, GlobalOptions, Invocation, Options, Word } from './command.ts';
import { closest } from './suggest.ts';
import { printable } from './terminal.ts';

/** Options that every command takes. `--version` is valid only without a command. */
export const globalOptions = {
  'config-dir': {
    type: 'string',
    value: 'DIR',
    description: 'use DIR instead of ~/.config/mint (or $MINT_CONFIG_DIR)',
  },
  profile: { type: 'string', value: 'NAME', description: 'AWS profile', values: 'profiles' },
  region: { type: 'string', value: 'NAME', description: 'AWS region', values: 'regions' },
  timing: { type: 'boolean', description: 'say where the time went' },
  verbose: { type: 'boolean', description: 'explain each decision, and show stacks of errors' },
  help: { type: 'boolean', short: 'h', description: 'what the command does, and its options' },
  version: { type: 'boolean', hidden: true },
} as const satisfies Options;

/** Words before the first lone `--` are ours; words after it are passed on unchanged. */
export interface SplitArguments {
  readonly own: readonly string[];
  readonly rest: readonly string[] | undefined;
}

/** @param argv the words after the name of the program */
export function splitAtTerminator(argv: readonly string[]): SplitArguments {
  const at = argv.indexOf('--');
  return at < 0 ? { own: argv, rest: undefined } : { own: argv.slice(0, at), rest: argv.slice(at + 1) };
}

function tokensOf(own: readonly string[]) {
  const options = globalOptions;
  return parseArgs({ args: [...own], options, strict: false, allowPositionals: true, tokens: true }).tokens;
}

/** All words that are not options, parsed with the global options only. */
export function positionals(own: readonly string[]): readonly string[] {
  return tokensOf(own).flatMap((token) => (token.kind === 'positional' ? [token.value] : []));
}

/** The first positional is the command word; global options may come before it. */
export function commandWord(own: readonly string[]): string | undefined {
  return positionals(own)[0];
}

/** The value of a global option, even if the rest of the command line is invalid. */
export function globalValue(
  own: readonly string[],
  option: 'config-dir' | 'profile' | 'region',
): string | undefined {
  const found = tokensOf(own).findLast((token) => token.kind === 'option' && token.name === option);
  return found?.kind === 'option' ? found.value : undefined;
}

/** The first option that no command takes. */
export function unknownOption(own: readonly string[]): string | undefined {
  const unknown = tokensOf(own).find(
    (token) => token.kind === 'option' && !Object.hasOwn(globalOptions, token.name),
  );
  return unknown?.kind === 'option' ? unknown.rawName : undefined;
}

/** @param own the words before `--` */
export function wantsHelp(own: readonly string[]): boolean {
  return own.includes('--help') || own.includes('-h');
}

/**
 * Parses the options and arguments of one command strictly.
 * @throws MintError `usage`
 */
export function parseInvocation(command: Command, { own, rest }: SplitArguments): Invocation {
  const parsed = parseStrictly(command, own);
  const values = parsed.values as Invocation['values'];
  const globals: GlobalOptions = {
    configDir: values['config-dir'] as string | undefined,
    profile: values['profile'] as string | undefined,
    region: values['region'] as string | undefined,
    verbose: values['verbose'] === true,
    timing: values['timing'] === true,
  };
  return { positionals: parsed.positionals.slice(1), values, rest, globals };
}

function parseStrictly(command: Command, own: readonly string[]) {
  const options = { ...globalOptions, ...command.options };
  try {
    return parseArgs({ args: [...own], options, allowPositionals: true });
  } catch (error) {
    throw misused(error, command, options);
  }
}

/** The error for an invalid option. Shows only its first characters: it may be long, or a secret. */
function misused(error: unknown, command: Command, options: Options): MintError {
  const usage = `usage: mint-ssh ${command.usage}`;
  const { code, message } = error as NodeJS.ErrnoException;
  const option = /'(-{1,2}[^'\s]{1,40})/.exec(message)?.[1];
  if (code === 'ERR_PARSE_ARGS_UNKNOWN_OPTION' && option !== undefined) {
    const visible = Object.entries(options).filter(([, { hidden }]) => hidden !== true);
    const near = closest(
      option,
      visible.map(([name]) => `--${name}`),
    );
    return new MintError('usage', `unknown option: ${printable(option)}`, {
      hint: near === undefined ? usage : `did you mean: ${near}`,
    });
  }
  const [reason = ''] = String(message).split(/\. |[\r\n]/);
  return new MintError('usage', printable(reason.charAt(0).toLowerCase() + reason.slice(1, 80)), {
    hint: usage,
  });
}

/**
 * The forms of a subcommand in the command's table.
 *
 * @throws MintError `usage` if the command has no subcommand of this name
 */
export function subcommand(command: Command, word: string): readonly Word[] {
  const { usage, words = [] } = command;
  const found = words.filter(([form]) => form.split(' ')[0] === word);
  if (found.length > 0) return found;
  const [name = ''] = usage.split(' ');
  const near = closest(
    word,
    words.map(([form]) => form.split(' ')[0] ?? ''),
  );
  throw new MintError('usage', `unknown command: ${name} ${printable(word.slice(0, 40))}`, {
    hint:
      near === undefined
        ? `\`mint-ssh ${name} --help\` lists the subcommands`
        : `did you mean: mint-ssh ${name} ${near}`,
  });
}

/**
 * Refuses options of the command that the subcommand does not take.
 *
 * @throws MintError `usage`, also if the command has no subcommand of this name
 */
export function checkSubcommand(command: Command, word: string, values: Invocation['values']): void {
  const allowed = subcommand(command, word).flatMap(([, , options]) => options);
  const stray = Object.keys(values).find(
    (name) => Object.hasOwn(command.options, name) && !allowed.includes(name),
  );
  if (stray === undefined) return;
  const [name = ''] = command.usage.split(' ');
  throw new MintError('usage', `--${stray} is not an option of ${name} ${word}`, {
    hint: `\`mint-ssh ${name} ${word} --help\` lists its options`,
  });
}
