/** One row for each VM that ssh.toml, our blocks or AWS know, as `vms` and the picker show it. */
import type { Settings, VmSettings } from '../settings/settings.ts';
import { type Evidence, isElsewhere } from '../trust/pin.ts';
import type { HostEntry } from '../trust/store.ts';
import { candidatesFor } from '../vms/candidates.ts';
import type { LocatedVm } from '../vms/located-vm.ts';
import { usualLogin } from '../vms/usual-login.ts';

type HostKeyState = 'unknown' | 'pinned' | 'blocked' | 'damaged' | 'another-vm';

export interface VmRow {
  readonly name: string;
  readonly vm: LocatedVm | undefined;
  readonly own: VmSettings;
  readonly hasBlock: boolean;
  readonly address: string | undefined;
  readonly instance: string | undefined;
  readonly region: string | undefined;
  /** The values that docs/json.md documents. */
  readonly hostKey: HostKeyState;
  /** Why its first pinned key is trusted; undefined for one that Mint pinned, and for none. */
  readonly evidence: Evidence | undefined;
  readonly lastUsed: string | undefined;
}

/**
 * @param known the VMs that AWS showed, by name
 * @param blocks the names that have a Host block
 * @param entries the pinned host keys
 * @returns one row for each VM of ssh.toml and of AWS, sorted by name
 */
export function readRows(
  settings: Settings,
  known: ReadonlyMap<string, LocatedVm>,
  blocks: ReadonlySet<string>,
  entries: readonly HostEntry[],
): VmRow[] {
  const pins = new Map(entries.map((entry) => [entry.vm, entry]));
  const names = [...new Set([...settings.vms, ...known.keys()])].sort();
  return names.map((name) => {
    const vm = known.get(name);
    const own = settings.named(name, usualLogin(vm));
    const entry = pins.get(name);
    return {
      name,
      vm,
      own,
      hasBlock: blocks.has(name),
      address: vm === undefined ? own.host : candidatesFor(vm, own)[0]?.host,
      instance: own.instance ?? vm?.instance,
      region: vm?.region ?? own.region,
      hostKey: hostKeyState(entry, vm),
      evidence: entry?.pin?.evidence,
      lastUsed: entry?.pin?.lastLogin,
    };
  });
}

function hostKeyState(entry: HostEntry | undefined, vm: LocatedVm | undefined): HostKeyState {
  // The pin belongs to a VM of the same name in another account: this VM's key would look changed.
  if (entry?.pin !== undefined && vm !== undefined && isElsewhere(entry.pin, vm)) return 'another-vm';
  if (entry?.problem !== undefined) return 'damaged';
  if (entry?.contradiction !== undefined) return 'blocked';
  if (entry?.refused !== undefined && entry.refused.reason !== 'type') return 'blocked';
  return entry?.pin === undefined ? 'unknown' : 'pinned';
}

/** @returns EC2's state, with Mint's setup if that has not completed; `unknown` without an instance */
export function stateOf(vm: LocatedVm | undefined): string {
  if (vm === undefined) return 'unknown';
  return vm.bootstrap === 'pending' || vm.bootstrap === 'failed'
    ? `${vm.state} (setup ${vm.bootstrap})`
    : vm.state;
}

/** @returns a duration for people, in its largest fitting unit: `90 s`, `5 min`, `3 h`, `2 d` */
export function span(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return seconds < 172_800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86_400)} d`;
}
