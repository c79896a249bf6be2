/** Chooses the instance that a name refers to, from the instances that EC2 returned. */
import type { VmDescription } from '../aws/requests.ts';
import { printable } from '../cli/terminal.ts';
import { MintError } from '../errors.ts';
import { type Paths, vmPaths } from '../platform/paths.ts';
import { instancePattern } from '../settings/vm-name.ts';
import { readRecord } from '../trust/record.ts';
import { type LocatedVm, located } from './located-vm.ts';

/** How many instances a message lists. */
const maxListed = 10;

export interface Asked {
  /** In lower case. */
  readonly name: string;
  /** The caller's `mint:owner`. VMs of other owners do not count. */
  readonly owner: string;
  /** Whether the name may match a `Name` tag. Anyone can write such tags, so the user must have named or approved it. */
  readonly byNameTag: boolean;
  /** The instance on which the host keys of this name are pinned. */
  readonly pinned?: string | undefined;
}

/**
 * @param candidates the instances that EC2 returned for the name
 * @returns the caller's own VM of that name, else the instance with that `Name` tag; if several match, the pinned one
 * @throws MintError `vm-ambiguous` if several match, also in another case, and none is pinned; `vm-not-found`
 */
export function choose(candidates: readonly VmDescription[], asked: Asked): LocatedVm {
  const { name, owner, byNameTag } = asked;
  const living = candidates.filter(({ state }) => state !== 'terminated' && state !== 'shutting-down');
  const tagged = living.filter((vm) => vm.name?.toLowerCase() === name);
  const own = tagged.filter((vm) => vm.owner === owner && owner !== '');
  const named = byNameTag ? living.filter((vm) => vm.nameTag?.toLowerCase() === name) : [];
  const found = own.length > 0 ? own : named;
  const how = own.length > 0 ? 'tag' : 'name-tag';
  const [only, another] = found;
  if (only === undefined) throw notFound(asked, tagged);
  if (another === undefined) return located(name, how, only);
  // Otherwise, anyone who can write tags could lock the user out of a VM with the same tag on another instance.
  const pinned = found.find(({ instanceId }) => instanceId === asked.pinned);
  if (pinned === undefined) throw ambiguous(name, found);
  const others = found.filter((vm) => vm !== pinned).map(({ instanceId }) => instanceId);
  return {
    ...located(name, how, pinned),
    namesakes: others.filter((id) => instancePattern.test(id)).slice(0, maxListed),
  };
}

function ambiguous(name: string, found: readonly VmDescription[]): MintError {
  const shown = found.slice(0, maxListed).map(describe).join(', ');
  const more = found.length > maxListed ? ` and ${found.length - maxListed} more` : '';
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
      ? `\`mint-ssh vms --refresh\` lists your VMs; to add another one, write [vm.${name}] with instance = "i-…" in ssh.toml`
      : `${other.instanceId} has that name, but ${other.owner === undefined ? 'has no owner' : `belongs to ${printable(other.owner.slice(0, 70))}`}: to use it anyway, add [vm.${name}] with instance = "${other.instanceId}" to ssh.toml`;
  return new MintError('vm-not-found', `no VM of ${printable(owner)} is called ${name}`, { hint });
}

/** @returns the instance on which the VM's host keys are pinned; undefined if none is, or the record cannot be read */
export function pinnedInstance(paths: Paths, name: string): string | undefined {
  try {
    const record = readRecord(vmPaths(paths, name).record);
    return record === undefined || record.keys.length === 0 ? undefined : record.instance;
  } catch {
    // A damaged record: the login itself reports it.
    return undefined;
  }
}
