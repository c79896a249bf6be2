/** `mint-ssh demo`: real logins with the real proxy, agent and ssh, against a cloud inside this process. */
import { painter } from '../cli/colour.ts';
import type { Command } from '../cli/command.ts';
import { print } from '../cli/terminal.ts';
import { wrap } from '../cli/wrap.ts';
import { scenes } from '../demo/scenes.ts';
import { setStage, sshVersion } from '../demo/stage.ts';
import { MintError } from '../errors.ts';

export const command: Command = {
  usage: 'demo [--shell]',
  help: `Shows what mint-ssh does, without an AWS account: your own ssh logs in through this program and its agent,
to SSH servers and a stand-in for AWS inside this process. It works in a directory of its own, removes it
at the end, and touches nothing of yours.`,
  options: { shell: { type: 'boolean', description: 'then a shell with the two VMs, until `exit`' } },
  run,
};

async function run({ positionals, values }: Parameters<Command['run']>[0]): Promise<number> {
  if (positionals.length > 0) {
    throw new MintError('usage', 'demo takes no arguments', { hint: `usage: mint-ssh ${command.usage}` });
  }
  const version = await sshVersion();
  const setting = setStage();
  const interrupted = onInterrupt(async () => (await setting).strike());
  const stage = await setting;
  try {
    const introduction =
      `Two SSH servers and a stand-in for AWS now run inside this process. Your own ssh (${version}) logs in to them ` +
      `through the real mint-ssh and its real agent. All files are in ${stage.directory}, which is removed at the end; ` +
      'none of your files is read or changed.';
    print(`${wrap(introduction, 79).join('\n')}\n\n`);
    for (const [index, { title, play }] of scenes.entries()) {
      print(painter()('bold', `${index + 1}. ${title}`));
      await play(stage);
    }
    if (values['shell'] === true) {
      print(`This is a shell inside the demo. Try \`ssh dev\`, \`mint-ssh vms\` or
\`mint-ssh doctor dev\`; \`exit\` leaves it.`);
      await stage.shell();
    }
  } finally {
    interrupted.forget();
    await stage.strike();
  }
  print(`Done: the agent and its keys are gone, and the directory is removed.

Next, with your own VMs: mint-ssh setup`);
  return 0;
}

/** On SIGINT, SIGTERM or SIGHUP, cleans up and then raises the signal again with its default action. */
function onInterrupt(clean: () => Promise<void>): { forget(): void } {
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  const handle = (signal: NodeJS.Signals) => {
    forget();
    const end = () => process.kill(process.pid, signal);
    clean().then(end, end);
  };
  const forget = () => {
    for (const signal of signals) process.removeListener(signal, handle);
  };
  for (const signal of signals) process.on(signal, handle);
  return { forget };
}
