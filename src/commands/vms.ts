/** `mint-ssh vms`: the VMs there are, from the cache at once. */
import { AwsWorkers } from '../aws/workers.ts';
import { columns } from '../cli/columns.ts';
import type { Command, Invocation } from '../cli/command.ts';
import { print, printable, say } from '../cli/terminal.ts';
import { MintError } from '../errors.ts';
import { callerEnvironment } from '../platform/environment.ts';
import { resolvePaths } from '../platform/paths.ts';
import { writtenNames } from '../settings/approved-names.ts';
import { loadSettings, type Settings } from '../settings/settings.ts';
import { isElsewhere } from '../trust/pin.ts';
import { type HostEntry, TrustStore } from '../trust/store.ts';
import { candidatesFor } from '../vms/candidates.ts';
import { type ListRequest, listCached, listVms } from '../vms/list-vms.ts';
import type { LocatedVm } from '../vms/located-vm.ts';
import { VmCache } from '../vms/vm-cache.ts';

export const command: Command = {
  usage: 'vms [--refresh] [--json]',
  help: `Lists the VMs of ssh.toml and those of your own that Mint has tagged: state, instance, address, region,
whether the host key is pinned, and the last login. Answers from what is known; what is older than five minutes
is asked for again first.`,
  options: {
    refresh: { type: 'boolean', description: 'ask AWS, however young the last answer is' },
    json: { type: 'boolean', description: 'print JSON' },
  },
  run,
};

/** What is older than this is asked for again, in milliseconds. */
const oldTime = 5 * 60_000;

interface Row {
  readonly name: string;
  readonly vm: LocatedVm | undefined;
  readonly address: string | undefined;
  readonly instance: string | undefined;
  readonly region: string | undefined;
  readonly trust: string;
  readonly lastUsed: string | undefined;
}

async function run({ positionals, values, globals }: Invocation): Promise<number> {
  if (positionals.length > 0) {
    throw new MintError('usage', 'vms takes no names', { hint: `usage: mint-ssh ${command.usage}` });
  }
  const { profile, region } = globals;
  const paths = resolvePaths({ configDir: globals.configDir });
  const settings = loadSettings(paths, { profile, region });
  const cache = new VmCache(paths);
  const caller = { environment: callerEnvironment(process.env) };
  const { approved } = writtenNames(paths);
  const request = { caller, settings, approved: [...approved] };
  if (values['refresh'] === true || isOld(cache, request)) await refresh(cache, request);
  const known = listCached(cache, request);
  const rows = readRows(settings, known.vms, new TrustStore(paths).list());
  if (values['json'] === true) print(JSON.stringify(rows.map(toJson), undefined, 2));
  else if (rows.length > 0) print(table(rows));
  else say('there are no VMs: ssh.toml names none, and AWS shows none that is yours');
  return 0;
}

function isOld(cache: VmCache, request: ListRequest): boolean {
  const { listedAt } = listCached(cache, request);
  const age = Date.now() - (listedAt ?? 0);
  const isTooOld = age < 0 || age > oldTime;
  if (isTooOld) say(listedAt === undefined ? 'asking AWS' : `what is known is ${span(age)} old: asking AWS`);
  return isTooOld;
}

/** What is known already is shown also where AWS does not answer. @throws MintError where nothing is known */
async function refresh(cache: VmCache, request: ListRequest): Promise<void> {
  const before = listCached(cache, request);
  const aws = new AwsWorkers();
  try {
    const { problems, unusable } = await listVms(aws, cache, request);
    cache.flush();
    // Without a region, or with an answer that did not come, AWS has not said that there are none.
    const failure = problems.find(({ code }) => code.startsWith('aws-') || code === 'bad-settings');
    if (failure !== undefined && before.vms.size === 0 && request.settings.vms.length === 0) throw failure;
    for (const { message, code } of problems) {
      if (code !== 'vm-not-found') say(`note: ${message} (${code})`);
    }
    for (const tag of unusable)
      say(`note: a VM of yours cannot be called ${JSON.stringify(printable(tag.slice(0, 70)))}`);
  } finally {
    await aws.close();
  }
}

function readRows(
  settings: Settings,
  known: ReadonlyMap<string, LocatedVm>,
  entries: readonly HostEntry[],
): Row[] {
  const pins = new Map(entries.map((entry) => [entry.vm, entry]));
  const names = [...new Set([...settings.vms, ...known.keys()])].sort();
  return names.map((name) => {
    const own = settings.named(name);
    const vm = known.get(name);
    const entry = pins.get(name);
    return {
      name,
      vm,
      address: vm === undefined ? own.host : candidatesFor(vm, own)[0]?.host,
      instance: own.instance ?? vm?.instance,
      region: vm?.region ?? own.region,
      trust: trustOf(entry, vm),
      lastUsed: entry?.pin?.lastLogin,
    };
  });
}

function trustOf(entry: HostEntry | undefined, vm: LocatedVm | undefined): string {
  // A VM of that name in another account: this one's key would be a changed one.
  if (entry?.pin !== undefined && vm !== undefined && isElsewhere(entry.pin, vm)) return 'another VM';
  if (entry?.problem !== undefined) return 'damaged';
  if (entry?.refused !== undefined) return 'refused';
  if (entry?.pin === undefined) return 'new';
  return entry.pin.proof === 'console' ? 'verified' : 'pinned';
}

function table(rows: readonly Row[]): string {
  const head = ['VM', 'STATE', 'INSTANCE', 'ADDRESS', 'REGION', 'TRUST', 'LAST USED'];
  const cells = rows.map(({ name, vm, address, instance, region, trust, lastUsed }) => [
    name,
    stateOf(vm),
    instance ?? '-',
    address ?? '-',
    region ?? '-',
    trust,
    lastUsed === undefined ? '-' : `${span(Date.now() - Date.parse(lastUsed))} ago`,
  ]);
  return columns(head, cells);
}

function stateOf(vm: LocatedVm | undefined): string {
  if (vm === undefined) return 'unknown';
  return vm.bootstrap === 'pending' || vm.bootstrap === 'failed'
    ? `${vm.state} (setup ${vm.bootstrap})`
    : vm.state;
}

function toJson({ name, vm, address, instance, region, trust, lastUsed }: Row): Record<string, unknown> {
  return {
    name,
    state: vm?.state ?? null,
    bootstrap: vm?.bootstrap ?? null,
    instance: instance ?? null,
    address: address ?? null,
    region: region ?? null,
    account: vm?.account ?? null,
    owner: vm?.owner ?? null,
    trust,
    last_used: lastUsed ?? null,
    seen_at: vm === undefined ? null : new Date(vm.seenAt).toISOString(),
  };
}

function span(milliseconds: number): string {
  const seconds = Math.max(0, Math.round(milliseconds / 1000));
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return seconds < 172_800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86_400)} d`;
}
