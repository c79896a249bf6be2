/** Which of the instances that EC2 showed a name stands for. */
import type { VmDescription } from '../aws/requests.ts';
import { printable } from '../cli/terminal.ts';
import { MintError } from '../errors.ts';
import { type LocatedVm, located } from './located-vm.ts';

/** As many as a message lists. */
const mostListed = 10;

export interface Asked {
  /** In lower case. */
  readonly name: string;
  /** The caller's own `mint:owner`: nobody else's VM counts, whatever it is called. */
  readonly owner: string;
  /** Whether an instance may be found by its `Name` tag: anyone can write that, so only where a person said so. */
  readonly byNameTag: boolean;
}

/**
 * The caller's own VM of that name, else the instance with that `Name` tag.
 * @throws MintError `vm-ambiguous` where two have the name, or names that differ only in case; `vm-not-found`
 */
export function choose(candidates: readonly VmDescription[], asked: Asked): LocatedVm {
  const { name, owner, byNameTag } = asked;
  const living = candidates.filter(({ state }) => state !== 'terminated' && state !== 'shutting-down');
  const tagged = living.filter((vm) => vm.name?.toLowerCase() === name);
  const own = tagged.filter((vm) => vm.owner === owner && owner !== '');
  const named = byNameTag ? living.filter((vm) => vm.nameTag?.toLowerCase() === name) : [];
  const found = own.length > 0 ? own : named;
  const [only, another] = found;
  if (only === undefined) throw notFound(asked, tagged);
  if (another !== undefined) throw ambiguous(name, found);
  return located(name, own.length > 0 ? 'tag' : 'name-tag', only);
}

function ambiguous(name: string, found: readonly VmDescription[]): MintError {
  const shown = found.slice(0, mostListed).map(describe).join(', ');
  const more = found.length > mostListed ? ` and ${found.length - mostListed} more` : '';
  return new MintError('vm-ambiguous', `${found.length} instances are called ${name}: ${shown}${more}`, {
    hint: `rename or terminate all but one, or say which: [vm.${name}] with instance = "i-…" in ssh.toml`,
  });
}

function describe({ instanceId, name, nameTag, state, launchTime }: VmDescription): string {
  const written = printable((name ?? nameTag ?? '').slice(0, 70));
  return `${instanceId} (${written}, ${state}, launched ${launchTime.slice(0, 10)})`;
}

function notFound({ name, owner }: Asked, others: readonly VmDescription[]): MintError {
  const [other] = others;
  const hint =
    other === undefined
      ? `\`mint-ssh vms --refresh\` lists your VMs; others you can name in ssh.toml: [vm.${name}] with instance = "i-…"`
      : `${other.instanceId} has that name, but belongs to ${printable((other.owner ?? 'nobody').slice(0, 70))}: to use it all the same, add [vm.${name}] with instance = "${other.instanceId}" to ssh.toml`;
  return new MintError('vm-not-found', `no VM of ${printable(owner)} is called ${name}`, { hint });
}
