import type { Command, Invocation } from '../cli/command.ts';
import { say } from '../cli/terminal.ts';
import { MintError } from '../errors.ts';
import { withInstance } from './instance-state.ts';

export const command: Command = {
  usage: 'start VM',
  help: `Starts the EC2 instance of a VM, and returns when it runs. Its sshd may need a few seconds more;
\`mint-ssh ssh VM\` waits for it.`,
  options: {},
  run,
};

async function run(invocation: Invocation): Promise<number> {
  await withInstance(invocation, command.usage, async ({ name, aws, caller, target, vm, waitFor }) => {
    if (vm.state === 'running') return say(`${name} (${vm.instance}) is running already`);
    if (vm.state === 'stopping') await waitFor('stopped');
    else if (vm.state !== 'stopped' && vm.state !== 'pending') {
      throw new MintError('vm-not-running', `${name} (${vm.instance}) is ${vm.state}`);
    }
    await aws.startInstance(caller, { ...target, instanceId: vm.instance });
    await waitFor('running');
    say(`${name} (${vm.instance}) is running`);
  });
  return 0;
}
