/** argv → the command word, its options and positionals, by `util.parseArgs`. */
import { parseArgs } from 'node:util';
import { MintError } from '../errors.ts';
import type { Command, GlobalOptions, Invocation, Options } from './command.ts';
import { printable } from './terminal.ts';

/** Options that every command takes; `--version` stands alone. */
export const globalOptions = {
  'config-dir': {
    type: 'string',
    value: 'DIR',
    description: 'use DIR instead of ~/.config/mint (or $MINT_CONFIG_DIR)',
  },
  profile: { type: 'string', value: 'NAME', description: 'AWS profile' },
  region: { type: 'string', value: 'NAME', description: 'AWS region' },
  timing: { type: 'boolean', description: 'say where the time went' },
  verbose: { type: 'boolean', description: 'explain each decision, and show stacks of errors' },
  help: { type: 'boolean', short: 'h', description: 'what the command does, and its options' },
  version: { type: 'boolean', hidden: true },
} as const satisfies Options;

/** What stands before the first lone `--` is ours, what stands behind it is passed on untouched. */
export interface SplitArguments {
  readonly own: readonly string[];
  readonly rest: readonly string[] | undefined;
}

export function splitAtTerminator(argv: readonly string[]): SplitArguments {
  const at = argv.indexOf('--');
  return at < 0 ? { own: argv, rest: undefined } : { own: argv.slice(0, at), rest: argv.slice(at + 1) };
}

/** The first positional is the command word; global options may stand before it. */
export function commandWord(own: readonly string[]): string | undefined {
  const { tokens } = parseArgs({
    args: [...own],
    options: globalOptions,
    strict: false,
    allowPositionals: true,
    tokens: true,
  });
  return tokens.find((token) => token.kind === 'positional')?.value;
}

/** The first option that no command takes, where no command word says what the others mean. */
export function unknownOption(own: readonly string[]): string | undefined {
  const { tokens } = parseArgs({
    args: [...own],
    options: globalOptions,
    strict: false,
    allowPositionals: true,
    tokens: true,
  });
  const unknown = tokens.find(
    (token) => token.kind === 'option' && !Object.hasOwn(globalOptions, token.name),
  );
  return unknown?.kind === 'option' ? unknown.rawName : undefined;
}

export function wantsHelp(own: readonly string[]): boolean {
  return own.includes('--help') || own.includes('-h');
}

/** Parses strictly what one command takes. @throws MintError `usage` */
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
  try {
    return parseArgs({
      args: [...own],
      options: { ...globalOptions, ...command.options },
      allowPositionals: true,
    });
  } catch (error) {
    // What was mistyped may be long, or a secret that came without its option: say no more than its beginning.
    const [reason = ''] = String(error instanceof Error ? error.message : error).split(/\. |[\r\n]/);
    throw new MintError('usage', printable(reason.charAt(0).toLowerCase() + reason.slice(1, 80)), {
      hint: `usage: mint-ssh ${command.usage}`,
    });
  }
}
