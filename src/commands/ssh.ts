import type { Command, Invocation } from '../cli/command.ts';
import { shellWord } from '../cli/shell-command.ts';
import { MintError } from '../errors.ts';
import { resolvePaths } from '../platform/paths.ts';
import { loadSettings } from '../settings/settings.ts';
import { vmName } from '../settings/vm-name.ts';
import { withLoginConfig } from '../ssh-config/login-config.ts';
import { sshStatus, startProgram } from '../ssh-config/ssh-child.ts';
import { findVm, proxyOptionsFor } from '../vms/find-vm.ts';

export const command: Command = {
  usage: 'ssh VM [COMMAND… | -- ARGS…]',
  help: `Runs ssh to a VM without touching ~/.ssh/config. VM is any name that \`mint-ssh vms\` shows, or an
instance ID. Options of ssh go after --, followed by the command if there is one. A second -- ends the
options: a script that passes on a foreign command needs it, because options such as
-oProxyCommand=… run programs on this machine. The exit status is ssh's own.

  mint-ssh ssh dev
  mint-ssh ssh dev uptime
  mint-ssh ssh dev -- -L 8080:localhost:80 -N
  mint-ssh ssh dev -- -- "$command"`,
  logsIn: true,
  options: {},
  run,
};

async function run({ positionals, rest = [], globals }: Invocation): Promise<number> {
  const [given, ...words] = positionals;
  if (given === undefined) {
    throw new MintError('usage', 'missing argument: VM', { hint: `usage: mint-ssh ${command.usage}` });
  }
  if (words.length > 0 && rest.length > 0) {
    throw new MintError('usage', 'a command before -- and arguments after it', {
      hint: `put all of it after --: mint-ssh ssh ${shellWord(given.slice(0, 63))} -- …`,
    });
  }
  const name = vmName(given);
  const paths = resolvePaths({ configDir: globals.configDir });
  const settings = loadSettings(paths, { profile: globals.profile, region: globals.region });
  const found = await findVm({ paths, settings, name });
  const remote = words.length > 0 ? ['--', ...words] : [];
  const login = { paths, vm: found.vm, globals, isShared: true, proxyOptions: proxyOptionsFor(found) };
  return await withLoginConfig(login, (file) =>
    sshStatus(startProgram('ssh', ['-F', file, name, ...remote, ...rest], { stdio: 'inherit' })),
  );
}
