/** All VMs at once: those of ssh.toml, the caller's own, and those a person has approved by name. */
import type { Caller, VmDescription } from '../aws/workers.ts';
import { MintError } from '../errors.ts';
import type { Settings, VmSettings } from '../settings/settings.ts';
import { vmName } from '../settings/vm-name.ts';
import { choose } from './choose.ts';
import { type LocatedVm, located } from './located-vm.ts';
import { type Ec2, scopeOf } from './names.ts';
import type { VmCache } from './vm-cache.ts';

export interface ListRequest {
  readonly caller: Caller;
  readonly settings: Settings;
  /** Names outside of ssh.toml that may be found by their `Name` tag. */
  readonly approved: readonly string[];
}

export interface VmList {
  /** By name. */
  readonly vms: ReadonlyMap<string, LocatedVm>;
  /** What AWS did not say, and names that stand for too much or for nothing. */
  readonly problems: readonly MintError[];
  /** Tags of the caller's own that no VM can be called. */
  readonly unusable: readonly string[];
}

interface Group {
  readonly region: string | undefined;
  readonly profile: string | undefined;
  /** To be found by tag. */
  readonly tagged: VmSettings[];
  readonly byId: VmSettings[];
}

/** The region and profile that hold for a name outside of ssh.toml. */
export function elsewhere(settings: Settings): VmSettings {
  return settings.named('x');
}

/** What the cache has of all of them, and when the caller's own were last asked for. */
export function listCached(
  cache: VmCache,
  { caller, settings }: Pick<ListRequest, 'caller' | 'settings'>,
): { readonly vms: ReadonlyMap<string, LocatedVm>; readonly listedAt: number | undefined } {
  const scope = cache.scope(scopeOf({ caller, settings: elsewhere(settings) }));
  // What ssh.toml named once, by an id, is no VM of that name any more.
  const vms = new Map(
    [...scope.vms].filter(([name, { found, instance }]) => found !== 'id' || name === instance),
  );
  for (const name of settings.vms) {
    const own = settings.named(name);
    const vm = cache.scope(scopeOf({ caller, settings: own })).vms.get(name);
    const fits = own.instance === undefined || own.instance === vm?.instance;
    if (vm !== undefined && fits) vms.set(name, vm);
    else vms.delete(name);
  }
  return { vms, listedAt: scope.listedAt };
}

/**
 * Asks AWS, region by region, and puts the answers into the cache. Never rejects for what AWS does not say of some
 * of them: that is among the problems.
 */
export async function listVms(aws: Ec2, cache: VmCache, request: ListRequest): Promise<VmList> {
  const { settings, approved, caller } = request;
  const { region, profile } = elsewhere(settings);
  const found = new Map<string, LocatedVm>();
  const problems: MintError[] = [];
  const unusable: string[] = [];
  const note = (error: unknown) => {
    if (!(error instanceof MintError)) throw error;
    if (!problems.some(({ message }) => message === error.message)) problems.push(error);
  };

  const groups = new Map<string, Group>();
  const groupOf = (target: { region: string | undefined; profile: string | undefined }) => {
    const key = JSON.stringify([target.region, target.profile]);
    const group = groups.get(key) ?? { ...target, tagged: [], byId: [] };
    groups.set(key, group);
    return group;
  };
  const home = groupOf({ region, profile });
  const outside = approved.filter((name) => !settings.vms.includes(name));
  for (const name of [...settings.vms, ...outside]) {
    const vm = settings.named(name);
    const group = groupOf({ region: vm.region, profile: vm.profile });
    (vm.instance === undefined ? group.tagged : group.byId).push(vm);
  }

  const keep = (vm: LocatedVm | undefined, own: VmSettings) => {
    if (vm !== undefined) found.set(own.name, vm);
    cache.change(scopeOf({ caller, settings: own }), ({ vms }) => {
      if (vm === undefined) vms.delete(own.name);
      else vms.set(own.name, vm);
    });
  };
  const pick = (candidates: readonly VmDescription[], own: VmSettings, owner: string, byNameTag: boolean) => {
    try {
      keep(choose(candidates, { name: own.name, owner, byNameTag }), own);
    } catch (error) {
      keep(undefined, own);
      note(error);
    }
  };

  const askGroup = async (group: Group): Promise<void> => {
    const target = { region: group.region, profile: group.profile };
    // Each by itself: what AWS does not say of one it may say of the next.
    const byId = Promise.all(
      group.byId.map(async (own) => {
        try {
          keep(await describeOne(aws, caller, own), own);
        } catch (error) {
          note(error);
        }
      }),
    );
    const isHome = group === home;
    if (!isHome && group.tagged.length === 0) return void (await byId);
    const [{ owner }] = await Promise.all([aws.identity(caller, target), byId]);
    const names = group.tagged.map(({ name }) => name);
    const [own, candidates] = await Promise.all([
      isHome && owner !== '' ? aws.describeVms(caller, { ...target, owner }) : [],
      names.length > 0 ? aws.describeVms(caller, { ...target, names, nameTags: names }) : [],
    ]);
    for (const settingsOf of group.tagged) pick(candidates, settingsOf, owner, true);
    if (!isHome) return;
    const byName = new Map<string, VmDescription[]>();
    for (const vm of own) {
      const name = usable(vm.name ?? '');
      if (name === undefined) unusable.push(vm.name ?? '');
      else byName.set(name, [...(byName.get(name) ?? []), vm]);
    }
    const homeScope = scopeOf({ caller, settings: elsewhere(settings) });
    cache.change(homeScope, (scope) => {
      scope.owner = owner;
      scope.listedAt = Date.now();
      for (const [name, vm] of scope.vms) {
        if (vm.found === 'tag' && !byName.has(name)) scope.vms.delete(name);
      }
    });
    for (const [name, vms] of byName) {
      // Whatever ssh.toml says of a name has been asked above.
      if (!settings.vms.includes(name)) pick(vms, settings.named(name), owner, false);
    }
  };
  await Promise.all([...groups.values()].map((group) => askGroup(group).catch(note)));
  return { vms: found, problems, unusable };
}

/** One by one: AWS answers a list with an id it does not know by an error for all of them. */
async function describeOne(aws: Ec2, caller: Caller, own: VmSettings): Promise<LocatedVm | undefined> {
  const { instance = '', region, profile } = own;
  try {
    const [vm] = await aws.describeVms(caller, { region, profile, ids: [instance] });
    return vm && located(own.name, 'id', vm);
  } catch (error) {
    if (error instanceof MintError && error.code === 'vm-not-found') return undefined;
    throw error;
  }
}

function usable(tag: string): string | undefined {
  try {
    return vmName(tag);
  } catch {
    return undefined;
  }
}
