/** What `mint-ssh` does without a command, and the error for a word that is not a command. */
import { isatty } from 'node:tty';
import { globalOptions, globalValue, unknownOption } from '../cli/arguments.ts';
import type { CommandTable } from '../cli/command.ts';
import { commandHelp, overview } from '../cli/help.ts';
import { closest } from '../cli/suggest.ts';
import { print, printable } from '../cli/terminal.ts';
import { MintError } from '../errors.ts';
import { resolvePaths } from '../platform/paths.ts';
import { knownNames } from '../vms/known-names.ts';

const overviewHint = '`mint-ssh help` lists the commands';

/**
 * `mint-ssh` without a command: the picker on a terminal, else the help.
 * @throws MintError `usage`
 */
export async function withoutCommand(own: readonly string[], commands: CommandTable): Promise<number> {
  const option = unknownOption(own);
  if (option !== undefined) throw unknownGlobalOption(option);
  const isInteractive = isatty(0) && isatty(1) && isatty(2) && process.env['TERM'] !== 'dumb';
  if (isInteractive) {
    const { pickVm } = await import('./pick.ts');
    return await pickVm(own);
  }
  print(overview(commands));
  return 0;
}

/**
 * `mint-ssh help`, `mint-ssh help hosts`, `mint-ssh help hosts accept`.
 * @throws MintError `usage`
 */
export async function help(words: readonly string[], commands: CommandTable): Promise<number> {
  const [word, subcommand] = words;
  if (word === undefined) {
    print(overview(commands));
    return 0;
  }
  const entry = Object.hasOwn(commands, word) ? commands[word] : undefined;
  if (entry === undefined) throw unknownCommand(word, [], commands);
  print(commandHelp((await entry.load()).command, subcommand));
  return 0;
}

/** @param own the words before `--`: an unknown option among them is the likelier mistake */
export function unknownCommand(word: string, own: readonly string[], commands: CommandTable): MintError {
  const option = unknownOption(own);
  if (option !== undefined) return unknownGlobalOption(option);
  const what = `unknown command: ${shown(word)}`;
  const flags = { profile: globalValue(own, 'profile'), region: globalValue(own, 'region') };
  const names = knownNames(resolvePaths({ configDir: globalValue(own, 'config-dir') }), flags);
  const lower = word.toLowerCase();
  if (names.has(lower)) {
    const hint = `${lower} is a VM; to log in: ssh ${lower}, or mint-ssh ssh ${lower}`;
    return new MintError('usage', what, { hint });
  }
  const command = closest(word, [...Object.keys(commands), 'help', 'version']);
  if (command !== undefined) {
    return new MintError('usage', what, { hint: `did you mean: mint-ssh ${command}` });
  }
  const vm = closest(word, names);
  if (vm !== undefined) {
    return new MintError('usage', what, { hint: `did you mean the VM ${vm}? mint-ssh ssh ${vm}` });
  }
  return new MintError('usage', what, { hint: overviewHint });
}

function unknownGlobalOption(option: string): MintError {
  const near = closest(
    option,
    Object.keys(globalOptions).map((name) => `--${name}`),
  );
  return new MintError('usage', `unknown option: ${shown(option)}`, {
    hint: near === undefined ? overviewHint : `did you mean: ${near}`,
  });
}

/** The beginning of what was mistyped; the rest may be a secret. */
function shown(word: string): string {
  return printable(word.slice(0, 40));
}
