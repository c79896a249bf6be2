import type { Command, Invocation } from '../cli/command.ts';
import { MintError } from '../errors.ts';
import { resolvePaths } from '../platform/paths.ts';
import { loadSettings } from '../settings/settings.ts';
import { vmName } from '../settings/vm-name.ts';
import { withLoginConfig } from '../ssh-config/login-config.ts';
import { sshStatus, startProgram } from '../ssh-config/ssh-child.ts';

export const command: Command = {
  usage: 'ssh VM [-- ARGS…]',
  help: `Runs ssh to a VM without touching ~/.ssh/config. ARGS are what ssh itself takes behind the host: options,
then a command. A second -- ends the options: a script that passes on a command of somebody else needs it, because
options such as -oProxyCommand=… run programs on this machine. The exit status is ssh's own.

  mint-ssh ssh dev
  mint-ssh ssh dev -- uptime
  mint-ssh ssh dev -- -L 8080:localhost:80 -N
  mint-ssh ssh dev -- -- "$command"`,
  options: {},
  run,
};

async function run({ positionals, rest, globals }: Invocation): Promise<number> {
  const [given, ...more] = positionals;
  if (given === undefined || more.length > 0) {
    throw new MintError('usage', given === undefined ? 'which VM?' : 'what is for ssh stands behind --', {
      hint: `usage: mint-ssh ${command.usage}`,
    });
  }
  const name = vmName(given);
  const paths = resolvePaths({ configDir: globals.configDir });
  const settings = loadSettings(paths, { profile: globals.profile, region: globals.region });
  // What the name stands for is for the agent to find out.
  const vm = settings.named(name);
  return await withLoginConfig({ paths, vm, globals, isShared: true }, (file) =>
    sshStatus(startProgram('ssh', ['-F', file, name, ...(rest ?? [])], { stdio: 'inherit' })),
  );
}
