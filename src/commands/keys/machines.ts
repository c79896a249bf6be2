/** Finds every machine that may accept a key: in the store, in ssh.toml and in EC2. */
import { ownAws } from '../../aws/own-credentials.ts';
import type { VmDescription } from '../../aws/requests.ts';
import { MintError } from '../../errors.ts';
import type { KeyRecord } from '../../keys/store/key-store.ts';
import { addMachines, forgetMachine, isSameMachine, type MachineId } from '../../keys/store/rotation.ts';
import { thisCaller } from '../../platform/caller.ts';
import { vmName } from '../../settings/vm-name.ts';
import { listCached } from '../../vms/list-vms.ts';
import { VmCache } from '../../vms/vm-cache.ts';
import { type Target, usesKey } from './logins.ts';
import type { KeysRequest } from './request.ts';

export interface FoundMachines {
  readonly targets: readonly Target[];
  /** Regions where EC2 could not be asked, with the reason. */
  readonly unasked: ReadonlyMap<string, string>;
}

/**
 * Finds all machines of a key, asks EC2 in all regions of the store, and records the results. Terminated machines are
 * removed.
 *
 * @param launchedWith more names in EC2 to look for, such as those of an older system
 */
export async function findMachines(
  request: KeysRequest,
  record: KeyRecord,
  launchedWith: KeyRecord['ec2Names'] = [],
): Promise<FoundMachines> {
  const { directory } = request;
  const { name } = record;
  const settings = request.settings();
  const configured = settings.vms
    .map((vm) => settings.named(vm))
    .filter(({ access }) => usesKey(access, record))
    .map((vm) => ({ instance: vm.instance, name: vm.name, user: vm.user, region: vm.region }));
  const names = [...record.ec2Names, ...launchedWith];
  const known: (MachineId & Pick<Target, 'region'>)[] = [...record.machines, ...configured];
  const regions = new Set(names.map(({ region }) => region));
  for (const { instance, region } of [...record.machines, ...configured]) {
    const at = instance === undefined ? undefined : (region ?? request.region());
    if (at !== undefined) regions.add(at);
  }
  const unasked = new Map<string, string>();
  const shown: VmDescription[] = [];
  if (regions.size > 0) {
    await withAws(request, async (aws) => {
      for (const region of regions) {
        try {
          shown.push(...(await aws.launchedWith(region, names)), ...(await aws.byId(region, known)));
        } catch (error) {
          if (!(error instanceof MintError)) throw error;
          unasked.set(region, `${error.message} (${error.code})`);
        }
      }
    });
  }
  const byId = new Map(shown.map((vm) => [vm.instanceId, vm]));
  const living = [...byId.values()].filter(({ state }) => !isOver(state));
  for (const { instanceId, state } of byId.values()) {
    if (isOver(state)) forgetMachine(directory, name, { instance: instanceId, name: instanceId });
  }
  const cached = listCached(new VmCache(request.paths), { caller: thisCaller(), settings }).vms;
  /** The instance that a login by this name reaches, as far as that is known here. A VM may have been replaced. */
  const leadsTo = (called: string): string | undefined => {
    const vm = plainName(called);
    return settings.vm(vm)?.instance ?? cached.get(vm)?.instance;
  };
  const targets = living.flatMap((vm) => targetsOf(request, record, vm, living, known));
  for (const machine of known) {
    const isGone = machine.instance !== undefined && isOver(byId.get(machine.instance)?.state);
    if (isGone || targets.some((target) => isSameMachine(target, machine))) continue;
    const { instance, name: called, user, region } = machine;
    targets.push({
      instance,
      name: called,
      user,
      region,
      vm: instance === undefined || leadsTo(called) === instance ? plainName(called) : instance,
      notTried: undefined,
    });
  }
  addMachines(
    directory,
    name,
    targets.map(({ instance, name: called, user, region }) => ({ instance, name: called, user, region })),
  );
  return { targets, unasked };
}

/**
 * An instance, by the user's name for it if that refers to this instance, else by its ID. It is several targets if ssh.toml
 * has several users on it.
 */
function targetsOf(
  request: KeysRequest,
  record: KeyRecord,
  vm: VmDescription,
  living: readonly VmDescription[],
  known: readonly MachineId[],
): Target[] {
  const settings = request.settings();
  const { instanceId: instance, region, state } = vm;
  const notTried = state === 'running' || state === 'pending' ? undefined : `it is ${state}`;
  const tagged = [vm.name, vm.nameTag].flatMap((tag) => tagName(tag) ?? []);
  const names = settings.vms.filter((name) => {
    const { instance: own, host, region: at } = settings.named(name);
    if (own !== undefined) return own === instance;
    const isHere = host === undefined && (at === undefined || at === region);
    return isHere && tagged.includes(name) && isOnly(name, vm, living);
  });
  const using = names.filter((name) => {
    const { access } = settings.named(name);
    return access === undefined || usesKey(access, record);
  });
  const found = using.length > 0 ? using : names.slice(0, 1);
  const approved = tagged.find((name) => settings.knows(name) && isOnly(name, vm, living));
  const ways = found.length > 0 ? found : [approved ?? instance];
  const called = known.find((machine) => machine.instance === instance)?.name;
  return ways.map((way) => ({
    instance,
    name: way === instance ? (called ?? tagged[0] ?? instance) : way,
    user: settings.named(way).user,
    region,
    vm: way,
    notTried,
  }));
}

function isOnly(name: string, vm: VmDescription, living: readonly VmDescription[]): boolean {
  return living.every(
    (other) =>
      other.instanceId === vm.instanceId || ![other.name, other.nameTag].some((tag) => tagName(tag) === name),
  );
}

function tagName(tag: string | undefined): string | undefined {
  const name = tag === undefined ? undefined : plainName(tag);
  return name !== undefined && /^[a-z0-9][a-z0-9._-]*$/.test(name) ? name : undefined;
}

/** The name as `vmName` returns it; an invalid name is kept, and no login to it is possible. */
export function plainName(instance: string): string {
  try {
    return vmName(instance);
  } catch {
    return instance;
  }
}

function isOver(state: VmDescription['state'] | undefined): boolean {
  return state === 'terminated' || state === 'shutting-down';
}

interface Ec2Questions {
  readonly launchedWith: (region: string, names: KeyRecord['ec2Names']) => Promise<readonly VmDescription[]>;
  /** Those of the machines that EC2 knows in this region. */
  readonly byId: (region: string, machines: readonly MachineId[]) => Promise<readonly VmDescription[]>;
}

async function withAws(request: KeysRequest, action: (aws: Ec2Questions) => Promise<void>): Promise<void> {
  const { globals, settings } = request;
  const aws = ownAws();
  const caller = thisCaller();
  const profile = globals.profile ?? settings().named('default').profile;
  try {
    await action({
      async launchedWith(region, names) {
        const keyNames = [...new Set(names.map(({ name }) => name))];
        return keyNames.length === 0 ? [] : await aws.describeVms(caller, { region, profile, keyNames });
      },
      async byId(region, machines) {
        const ids = [...new Set(machines.flatMap(({ instance }) => instance ?? []))];
        // EC2 returns an error for all of them if it does not know one.
        const answers = await Promise.all(
          ids.map((id) => aws.describeVms(caller, { region, profile, ids: [id] }).catch(unlessUnknown)),
        );
        return answers.flat();
      },
    });
  } finally {
    await aws.close();
  }
}

function unlessUnknown(error: unknown): readonly VmDescription[] {
  if (error instanceof MintError && error.code === 'vm-not-found') return [];
  throw error;
}
