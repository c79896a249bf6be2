import { namesInAwsFiles } from '../aws/profile-names.ts';
import type { Command, CommandTable } from '../cli/command.ts';
import { bashCompletion } from '../cli/completion/bash.ts';
import { fishCompletion } from '../cli/completion/fish.ts';
import { zshCompletion } from '../cli/completion/zsh.ts';
import { type CommandWord, commandWords, loadCommands, type NameKind } from '../cli/grammar.ts';
import { print } from '../cli/terminal.ts';
import { MintError } from '../errors.ts';
import { listKeys } from '../keys/store/key-store.ts';
import { keyStoreDirectory } from '../keys/store/location.ts';
import { type Paths, resolvePaths } from '../platform/paths.ts';
import { knownNames } from '../vms/known-names.ts';

const usage = 'completion bash|zsh|fish';

/** Makes the command. The command table passes itself in, so that this file does not import it. */
export function completionOf(table: CommandTable): Command {
  return { ...description, run: ({ positionals, globals }) => run(table, positionals, globals.configDir) };
}

const description: Omit<Command, 'run'> = {
  usage,
  help: `Prints what makes a shell complete the words, options and VM names of mint-ssh. install.sh puts it where the
shells look for it; by hand:

  eval "$(mint-ssh completion bash)"                                  in ~/.bashrc
  eval "$(mint-ssh completion zsh)"                                   in ~/.zshrc, behind compinit
  mint-ssh completion fish >~/.config/fish/completions/mint-ssh.fish  once`,
  words: [
    ['bash', 'print the script for bash', []],
    ['zsh', 'print the script for zsh', []],
    ['fish', 'print the script for fish', []],
  ],
  options: {},
};

const shells: Readonly<Record<string, (commands: readonly CommandWord[]) => string>> = {
  bash: bashCompletion,
  zsh: zshCompletion,
  fish: fishCompletion,
};

async function run(
  table: CommandTable,
  [shell = '', ...more]: readonly string[],
  configDir: string | undefined,
): Promise<number> {
  // The completion scripts call these forms.
  if (isNameKind(shell)) {
    const found = names[shell](resolvePaths({ configDir }));
    const plain = [...found].filter((name) => plainName.test(name));
    if (plain.length > 0) print(plain.join('\n'));
    return 0;
  }
  const script = Object.hasOwn(shells, shell) && more.length === 0 ? shells[shell] : undefined;
  if (script === undefined) {
    throw new MintError('usage', 'completion is for bash, zsh or fish', {
      hint: `usage: mint-ssh ${usage}`,
    });
  }
  print(script(commandWords(await loadCommands(table))));
  return 0;
}

/** A name that no shell changes. Others are not offered. */
const plainName = /^[\w@%+:,./-]+$/;

/** The names that a shell completes, by kind. AWS is not asked. */
const names: Readonly<Record<NameKind, (paths: Paths) => Iterable<string>>> = {
  vms: knownNames,
  keys: (paths) => {
    try {
      return listKeys(keyStoreDirectory(paths, undefined)).map(({ name }) => name);
    } catch {
      return [];
    }
  },
  profiles: () => namesInAwsFiles(process.env).profiles,
  regions: () => namesInAwsFiles(process.env).regions,
};

function isNameKind(word: string): word is NameKind {
  return Object.hasOwn(names, word);
}
