/** For `start` and `stop`: asks AWS for the instance of a VM, and waits for its state to change. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Aws } from '../aws/aws.ts';
import { ownAws } from '../aws/own-credentials.ts';
import type { Target } from '../aws/requests.ts';
import type { Invocation } from '../cli/command.ts';
import { withProgress } from '../cli/progress.ts';
import { MintError } from '../errors.ts';
import type { Caller } from '../platform/caller.ts';
import { thisCaller } from '../platform/caller.ts';
import { resolvePaths } from '../platform/paths.ts';
import { loadSettings, usesAws } from '../settings/settings.ts';
import { vmName } from '../settings/vm-name.ts';
import type { LocatedVm, State } from '../vms/located-vm.ts';
import { Names } from '../vms/names.ts';

export interface InstanceAccess {
  readonly name: string;
  readonly aws: Aws;
  readonly caller: Caller;
  readonly target: Target;
  /** As AWS has it now. */
  readonly vm: LocatedVm;
  /**
   * Waits until the instance is in a state.
   * @throws MintError `vm-not-running` after the time limit
   */
  readonly waitFor: (state: State) => Promise<void>;
}

const waitLimitMs = 5 * 60_000;
const pollMs = 2_000;

/** @throws MintError `usage`, `vm-not-found`, `vm-ambiguous`, `aws-…` */
export async function withInstance(
  { positionals, globals }: Invocation,
  usage: string,
  action: (access: InstanceAccess) => Promise<void>,
): Promise<void> {
  const [given, ...more] = positionals;
  if (given === undefined || more.length > 0) {
    const what = given === undefined ? 'missing argument: VM' : 'too many arguments';
    throw new MintError('usage', what, { hint: `usage: mint-ssh ${usage}` });
  }
  const name = vmName(given);
  const paths = resolvePaths({ configDir: globals.configDir });
  const settings = loadSettings(paths, { profile: globals.profile, region: globals.region });
  const own = settings.named(name);
  if (!usesAws(own)) {
    throw new MintError('vm-not-found', `ssh.toml does not make ${name} an EC2 instance`);
  }
  const aws = ownAws();
  const caller = thisCaller();
  const names = new Names(paths, aws);
  const look = () => names.look({ caller, settings: own, byNameTag: true });
  try {
    const vm = await withProgress(`asking AWS about ${name}`, look);
    const target = { region: vm.region, profile: own.profile };
    const waitFor = async (state: State) => {
      const deadline = performance.now() + waitLimitMs;
      await withProgress(`waiting until ${name} is ${state}`, async () => {
        while ((await look()).state !== state) {
          if (performance.now() > deadline) {
            throw new MintError(
              'vm-not-running',
              `${name} (${vm.instance}) is not ${state} after 5 minutes`,
              {
                hint: 'mint-ssh vms --refresh',
              },
            );
          }
          await sleep(pollMs);
        }
      });
    };
    await action({ name, aws, caller, target, vm, waitFor });
  } finally {
    names.cache.flush();
    await aws.close();
  }
}
