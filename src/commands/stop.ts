import type { Command, Invocation } from '../cli/command.ts';
import { say } from '../cli/terminal.ts';
import { withInstance } from './instance-state.ts';

export const command: Command = {
  usage: 'stop VM',
  help: `Stops the EC2 instance of a VM, and returns when it has stopped. Sessions on it end; its disks stay.`,
  options: {},
  run,
};

async function run(invocation: Invocation): Promise<number> {
  await withInstance(invocation, command.usage, async ({ name, aws, caller, target, vm, waitFor }) => {
    if (vm.state === 'stopped') return say(`${name} (${vm.instance}) is stopped already`);
    await aws.endInstance(caller, { ...target, instanceId: vm.instance, how: 'stop' });
    await waitFor('stopped');
    say(`${name} (${vm.instance}) is stopped`);
  });
  return 0;
}
