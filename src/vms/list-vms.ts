/** Lists VMs: those of ssh.toml, the caller's own, those approved by name, and on request every instance of the region. */

import type { Target, VmDescription } from '../aws/requests.ts';
import { MintError } from '../errors.ts';
import type { Caller } from '../platform/caller.ts';
import type { Settings, VmSettings } from '../settings/settings.ts';
import { instancePattern, vmName } from '../settings/vm-name.ts';
import { choose, pinnedInstance } from './choose.ts';
import { imageUser } from './image-user.ts';
import { type LocatedVm, located, namesakeNotice } from './located-vm.ts';
import { type Ec2, scopeOf } from './names.ts';
import type { VmCache } from './vm-cache.ts';

export interface ListRequest {
  readonly caller: Caller;
  readonly settings: Settings;
  /** Names outside of ssh.toml that may be found by their `Name` tag. */
  readonly approved: readonly string[];
  /** Whether to list every instance of the region of the settings. */
  readonly all?: boolean;
}

export interface VmList {
  /** By name. The name of an ordinary instance is its `Name` tag if that is unique, else its instance ID. */
  readonly vms: ReadonlyMap<string, LocatedVm>;
  /** Failed calls to AWS, and names that match several instances or none. */
  readonly problems: readonly MintError[];
  /** Tags of the caller's own VMs that are not valid VM names. */
  readonly unusable: readonly string[];
  /** Why the usual users of images are unknown; undefined if no call failed. */
  readonly imagesProblem: MintError | undefined;
}

interface Group extends Target {
  readonly region: string | undefined;
  readonly profile: string | undefined;
  /** VMs to find by tag. */
  readonly tagged: VmSettings[];
  readonly byId: VmSettings[];
}

/** The maximum number of image IDs in one DescribeImages call. */
const maxImages = 200;

/** @returns the settings, region and profile among them, for a name outside of ssh.toml */
export function elsewhere(settings: Settings): VmSettings {
  return settings.named('x');
}

export interface CachedList {
  readonly vms: ReadonlyMap<string, LocatedVm>;
  /** When the caller's own VMs were last listed, in milliseconds since 1970. */
  readonly listedAt: number | undefined;
  /** When every instance of the region was last listed. */
  readonly allListedAt: number | undefined;
}

/** @returns all VMs in the cache, without asking AWS */
export function listCached(
  cache: VmCache,
  { caller, settings }: Pick<ListRequest, 'caller' | 'settings'>,
): CachedList {
  const scope = cache.scope(scopeOf({ caller, settings: elsewhere(settings) }));
  // A name that ssh.toml once gave to an instance ID no longer refers to a VM.
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
  return { vms, listedAt: scope.listedAt, allListedAt: scope.allListedAt };
}

/**
 * Asks AWS, region by region, and stores the answers in the cache. Failed calls do not reject: they are returned as
 * problems beside the rest of the list.
 */
export async function listVms(aws: Ec2, cache: VmCache, request: ListRequest): Promise<VmList> {
  const { settings, approved, caller, all = false } = request;
  const { region, profile } = elsewhere(settings);
  const found = new Map<string, LocatedVm>();
  const problems: MintError[] = [];
  const unusable: string[] = [];
  let imagesProblem: MintError | undefined;
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
    (vm.instance === undefined && !instancePattern.test(name) ? group.tagged : group.byId).push(vm);
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
      const pinned = pinnedInstance(cache.paths, own.name);
      const vm = choose(candidates, { name: own.name, owner, byNameTag, pinned });
      keep(vm, own);
      const notice = namesakeNotice(vm);
      if (notice !== undefined) note(new MintError('vm-ambiguous', notice));
    } catch (error) {
      keep(undefined, own);
      note(error);
    }
  };

  const askGroup = async (group: Group): Promise<void> => {
    const target = { region: group.region, profile: group.profile };
    // One call for each, so that an error for one does not affect the others.
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
    const names = group.tagged.map(({ name }) => name);
    const everything = isHome && all ? aws.describeVms(caller, { ...target, all: true }) : undefined;
    everything?.catch(() => {});
    const [{ owner }] = await Promise.all([aws.identity(caller, target), byId]);
    const [own, candidates] =
      everything === undefined
        ? await Promise.all([
            isHome && owner !== '' ? aws.describeVms(caller, { ...target, owner }) : [],
            names.length > 0 ? aws.describeVms(caller, { ...target, names, nameTags: names }) : [],
          ])
        : [ownedBy(await everything, owner), await everything];
    for (const settingsOf of group.tagged) pick(candidates, settingsOf, owner, true);
    if (!isHome) return;
    const byName = new Map<string, VmDescription[]>();
    for (const vm of own) {
      const name = usable(vm.name ?? '');
      if (name === undefined) unusable.push(vm.name ?? '');
      else byName.set(name, [...(byName.get(name) ?? []), vm]);
    }
    for (const [name, vms] of byName) {
      // The names of ssh.toml were asked for above.
      if (!settings.vms.includes(name)) pick(vms, settings.named(name), owner, false);
    }
    if (everything !== undefined) {
      for (const vm of ordinaryVms(
        await everything,
        [...found.values()],
        [...settings.vms, ...byName.keys()],
      ))
        keep(vm, settings.named(vm.name));
    }
    cache.change(scopeOf({ caller, settings: elsewhere(settings) }), (scope) => {
      scope.owner = owner;
      scope.listedAt = Date.now();
      if (all) scope.allListedAt = Date.now();
      for (const [name, vm] of scope.vms) {
        if ((all || vm.found === 'tag') && !found.has(name) && !settings.vms.includes(name))
          scope.vms.delete(name);
      }
    });
  };
  await Promise.all([...groups.values()].map((group) => askGroup(group).catch(note)));
  try {
    for (const [name, vm] of await withUsers(aws, cache, request, found)) keep(vm, settings.named(name));
  } catch (error) {
    if (!(error instanceof MintError)) throw error;
    imagesProblem = error;
  }
  return { vms: found, problems, unusable, imagesProblem };
}

function ownedBy(all: readonly VmDescription[], owner: string): readonly VmDescription[] {
  return all.filter((vm) => owner !== '' && vm.owner === owner && vm.name !== undefined);
}

/** The instances without another name, by their `Name` tag or instance ID. */
function ordinaryVms(
  all: readonly VmDescription[],
  known: readonly LocatedVm[],
  taken: readonly string[],
): LocatedVm[] {
  const instances = new Set(known.map(({ instance }) => instance));
  const isTaken = new Set([...taken, ...known.map(({ name }) => name)]);
  const rest = all.filter(({ instanceId }) => !instances.has(instanceId));
  const count = new Map<string, number>();
  for (const { nameTag } of all) {
    const name = usable(nameTag ?? '');
    if (name !== undefined) count.set(name, (count.get(name) ?? 0) + 1);
  }
  return rest.map((vm) => {
    const name = usable(vm.nameTag ?? '');
    const isUnique = name !== undefined && count.get(name) === 1 && !isTaken.has(name);
    return isUnique ? located(name, 'name-tag', vm) : located(vm.instanceId, 'id', vm);
  });
}

/**
 * Adds the usual user of the image to VMs without one.
 *
 * @throws MintError `aws-…`
 */
async function withUsers(
  aws: Ec2,
  cache: VmCache,
  { caller, settings }: ListRequest,
  vms: ReadonlyMap<string, LocatedVm>,
): Promise<[string, LocatedVm][]> {
  const known = new Map<string, string>();
  for (const { image, user } of listCached(cache, { caller, settings }).vms.values()) {
    if (image !== undefined && user !== undefined) known.set(image, user);
  }
  const wanted = [...vms].filter(([, vm]) => !vm.isMint && vm.user === undefined && vm.image !== undefined);
  const regions = new Map<string, Target & { readonly ids: Set<string> }>();
  for (const [name, { image = '', region }] of wanted) {
    if (known.has(image)) continue;
    const { profile } = settings.named(name);
    const key = JSON.stringify([region, profile]);
    const group = regions.get(key) ?? { region, profile, ids: new Set() };
    regions.set(key, group);
    group.ids.add(image);
  }
  let failure: unknown;
  for (const { ids, ...target } of regions.values()) {
    const some = [...ids].slice(0, maxImages);
    try {
      for (const image of await aws.images(caller, { ...target, ids: some })) {
        const user = imageUser(image);
        if (user !== undefined) known.set(image.id, user);
      }
    } catch (error) {
      failure ??= error;
    }
  }
  const found = wanted.flatMap(([name, vm]): [string, LocatedVm][] => {
    const user = known.get(vm.image ?? '');
    return user === undefined ? [] : [[name, { ...vm, user }]];
  });
  if (failure !== undefined && found.length === 0) throw failure;
  return found;
}

/** One by one: AWS returns an error for the whole list if it does not know one of the IDs. */
async function describeOne(aws: Ec2, caller: Caller, own: VmSettings): Promise<LocatedVm | undefined> {
  const { name, instance = name, region, profile } = own;
  try {
    const [vm] = await aws.describeVms(caller, { region, profile, ids: [instance] });
    return vm && located(own.name, 'id', vm);
  } catch (error) {
    if (error instanceof MintError && error.code === 'vm-not-found') return undefined;
    throw error;
  }
}

/** A tag that looks like an instance ID could be the ID of another instance, so it is not used as a name. */
function usable(tag: string): string | undefined {
  try {
    const name = vmName(tag);
    return instancePattern.test(name) ? undefined : name;
  } catch {
    return undefined;
  }
}
