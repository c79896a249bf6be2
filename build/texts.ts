/** The manual page and the shells' completion, from the table that `--help` is printed from. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { bashCompletion } from '../src/cli/completion/bash.ts';
import { fishCompletion } from '../src/cli/completion/fish.ts';
import { zshCompletion } from '../src/cli/completion/zsh.ts';
import { commandWords, loadCommands } from '../src/cli/grammar.ts';
import { manualPage } from '../src/cli/man.ts';
import { commands } from '../src/commands/table.ts';

/** The files beside the program, and where they are installed below a prefix (`/usr`, `~/.local`). */
export const places: Readonly<Record<string, string>> = {
  'mint-ssh.1': 'share/man/man1/mint-ssh.1',
  'mint-ssh.bash': 'share/bash-completion/completions/mint-ssh',
  'mint-ssh.zsh': 'share/zsh/site-functions/_mint-ssh',
  'mint-ssh.fish': 'share/fish/vendor_completions.d/mint-ssh.fish',
};

/** Writes them into a folder, under the names in `places`. */
export async function writeTexts(folder: string): Promise<void> {
  const texts = await loadCommands(commands);
  const words = commandWords(texts);
  writeFileSync(join(folder, 'mint-ssh.1'), manualPage(texts));
  writeFileSync(join(folder, 'mint-ssh.bash'), bashCompletion(words));
  writeFileSync(join(folder, 'mint-ssh.zsh'), zshCompletion(words));
  writeFileSync(join(folder, 'mint-ssh.fish'), fishCompletion(words));
}
