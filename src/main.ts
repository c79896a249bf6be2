/**
 * argv → command → exit status. The only process.exit, the only top-level catch.
 *
 * Commands are loaded one at a time: what ssh starts on every connection (`proxy`) must not pay for the rest.
 */
import {
  commandWord,
  parseInvocation,
  type SplitArguments,
  splitAtTerminator,
  unknownOption,
  wantsHelp,
} from './cli/arguments.ts';
import { commandHelp, overview } from './cli/help.ts';
import { print, printable, reportError } from './cli/terminal.ts';
import { commands } from './commands/table.ts';
import { MintError } from './errors.ts';
import { hardenProcess } from './platform/hardening.ts';
import { version } from './version.ts';

async function run(given: SplitArguments): Promise<number> {
  const word = commandWord(given.own);
  if (word === undefined) {
    if (given.own.includes('--version')) {
      print(`mint-ssh ${version}`);
      return 0;
    }
    if (wantsHelp(given.own)) {
      print(overview(commands));
      return 0;
    }
    const option = unknownOption(given.own);
    const what = option === undefined ? 'which command?' : `no option is called ${quotedStart(option)}`;
    throw new MintError('usage', what, { hint: '`mint-ssh --help` lists them' });
  }
  const entry = Object.hasOwn(commands, word) ? commands[word] : undefined;
  if (entry === undefined) {
    throw new MintError('usage', `no command is called ${quotedStart(word)}`, {
      hint: '`mint-ssh --help` lists them',
    });
  }
  const { command } = await entry.load();
  if (wantsHelp(given.own)) {
    print(commandHelp(command));
    return 0;
  }
  return command.run(parseInvocation(command, given));
}

/** Of what was mistyped, as much as says what it was. */
function quotedStart(word: string): string {
  return `"${printable(word.slice(0, 40))}"`;
}

hardenProcess();
const given = splitAtTerminator(process.argv.slice(2));
run(given).then(
  (status) => process.exit(status),
  (error: unknown) => {
    reportError(error, given.own.includes('--verbose'));
    process.exit(error instanceof MintError ? error.exitStatus : 1);
  },
);
