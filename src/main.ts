/**
 * argv → command → exit status. The only process.exit, the only top-level catch.
 *
 * Commands are loaded one at a time: what ssh starts on every connection (`proxy`) must not pay for the rest.
 */
import { closeSync } from 'node:fs';
import { onResolved } from './aws/resolved.ts';
import {
  commandWord,
  globalValue,
  parseInvocation,
  positionals,
  type SplitArguments,
  splitAtTerminator,
  wantsHelp,
} from './cli/arguments.ts';
import { commandHelp } from './cli/help.ts';
import { print, reportError } from './cli/terminal.ts';
import { commands, hiddenCommands } from './commands/table.ts';
import { Interrupted, MintError } from './errors.ts';
import { hardenProcess } from './platform/hardening.ts';
import { resolvePaths } from './platform/paths.ts';
import { version } from './version.ts';

const versionOptions = ['--version', '-v', '-V'];

async function run(given: SplitArguments): Promise<number> {
  const { own } = given;
  const word = commandWord(own);
  const isAsked = (options: readonly string[]) => options.some((option) => own.includes(option));
  if (word === 'version' || (word === undefined && isAsked(versionOptions))) {
    print(`mint-ssh ${version}`);
    return 0;
  }
  const all = { ...commands, ...hiddenCommands };
  const entry = word !== undefined && Object.hasOwn(all, word) ? all[word] : undefined;
  if (word === undefined || entry === undefined) {
    const frontDoor = await import('./commands/front-door.ts');
    const words = positionals(own);
    if (word === 'help') return await frontDoor.help(words.slice(1), commands);
    if (word !== undefined) throw frontDoor.unknownCommand(word, own, commands);
    if (wantsHelp(own)) return await frontDoor.help([], commands);
    shareResolved(globalValue(own, 'config-dir'), true);
    return await frontDoor.withoutCommand(own, commands);
  }
  const { command } = await entry.load();
  if (wantsHelp(own)) {
    print(commandHelp(command, positionals(own)[1]));
    return 0;
  }
  const invocation = parseInvocation(command, given);
  shareResolved(invocation.globals.configDir, command.logsIn === true);
  return command.run(invocation);
}

/** Passes AWS credentials that a command resolves to the agent, so that a login after it does not ask for them again. */
function shareResolved(configDir: string | undefined, startAgent: boolean): void {
  onResolved(async (resolved) => {
    const { shareCredentials } = await import('./agent/control/share-credentials.ts');
    await shareCredentials(resolvePaths({ configDir }), resolved, startAgent);
  });
}

/**
 * Node restores at exit the terminal modes that it found at start, on each of descriptors 0 to 2 that still leads to the
 * terminal. The proxy ends after ssh has: by then the shell has turned off echo and line mode for its prompt. So it closes
 * stderr, its only descriptor of the terminal, first.
 */
function end(status: number): never {
  if (commandWord(given.own) === 'proxy') closeSync(2);
  process.exit(status);
}

hardenProcess();
const given = splitAtTerminator(process.argv.slice(2));
run(given).then(end, (error: unknown) => {
  if (error instanceof Interrupted) end(130);
  reportError(error, given.own.includes('--verbose'));
  end(error instanceof MintError ? error.exitStatus : 1);
});
