/**
 * argv → command → exit status. The only process.exit, the only top-level catch.
 *
 * Commands are loaded one at a time: what ssh starts on every connection (`proxy`) must not pay for the rest.
 */
import {
  commandWord,
  globalHelp,
  parseInvocation,
  type SplitArguments,
  splitAtTerminator,
  wantsHelp,
} from './cli/arguments.ts';
import type { Command } from './cli/command.ts';
import { hint, print, reportError, say } from './cli/terminal.ts';
import { MintError } from './errors.ts';
import { version } from './version.ts';

interface CommandEntry {
  readonly summary: string;
  readonly load: () => Promise<{ readonly command: Command }>;
}

const commands: Readonly<Record<string, CommandEntry>> = {
  proxy: {
    summary: 'what ssh runs as ProxyCommand: connect stdio to a VM',
    load: () => import('./commands/proxy.ts'),
  },
  agent: {
    summary: 'the agent that holds keys in memory: run it, see it, end it',
    load: () => import('./commands/agent.ts'),
  },
  'ssh-config': {
    summary: 'write the Host blocks and the Include that make `ssh VM` work',
    load: () => import('./commands/ssh-config.ts'),
  },
  ssh: {
    summary: 'ssh to a VM without touching ~/.ssh/config',
    load: () => import('./commands/ssh.ts'),
  },
  hosts: {
    summary: 'the host keys that are trusted: list, show, accept, forget',
    load: () => import('./commands/hosts.ts'),
  },
  demo: {
    summary: 'see it work against a cloud inside the process',
    load: () => import('./commands/demo.ts'),
  },
};

function overview(): string {
  const lines = Object.entries(commands).map(([word, entry]) => `  ${word.padEnd(12)} ${entry.summary}`);
  return `mint-ssh ${version}: plain \`ssh vmname\` to an EC2 VM, with no key to manage and no prompt to dismiss

usage: mint-ssh COMMAND …

${lines.join('\n')}

\`mint-ssh COMMAND --help\` says more. Options of every command:
${globalHelp}`;
}

async function run(given: SplitArguments): Promise<number> {
  const word = commandWord(given.own);
  if (word === undefined) {
    if (given.own.includes('--version')) {
      print(`mint-ssh ${version}`);
      return 0;
    }
    if (wantsHelp(given.own)) {
      print(overview());
      return 0;
    }
    say('error: which command? (usage)');
    hint('`mint-ssh --help` lists them');
    return 2;
  }
  const entry = Object.hasOwn(commands, word) ? commands[word] : undefined;
  if (entry === undefined) {
    throw new MintError('usage', `no command is called ${JSON.stringify(word.slice(0, 40))}`, {
      hint: '`mint-ssh --help` lists them',
    });
  }
  const { command } = await entry.load();
  if (wantsHelp(given.own)) {
    print(`usage: mint-ssh ${command.usage}\n\n${command.help}\n${globalHelp}`);
    return 0;
  }
  return command.run(parseInvocation(command, given));
}

const given = splitAtTerminator(process.argv.slice(2));
run(given).then(
  (status) => process.exit(status),
  (error: unknown) => {
    reportError(error, given.own.includes('--verbose'));
    process.exit(error instanceof MintError ? error.exitStatus : 1);
  },
);
