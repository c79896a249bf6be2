/** `mint-ssh vms`: lists the VMs, from the cache if it is fresh. */

import { ownAws } from '../aws/own-credentials.ts';
import { columns, outputWidth } from '../cli/columns.ts';
import type { Command, Invocation } from '../cli/command.ts';
import { withProgress } from '../cli/progress.ts';
import { shellWord } from '../cli/shell-command.ts';
import { hint, print, printable, printJson, say } from '../cli/terminal.ts';
import { isoTime } from '../cli/time.ts';
import { MintError } from '../errors.ts';
import { thisCaller } from '../platform/caller.ts';
import { resolvePaths } from '../platform/paths.ts';
import { writtenNames } from '../settings/approved-names.ts';
import { loadSettings } from '../settings/settings.ts';
import { approvedNames } from '../ssh-config/approvals.ts';
import { TrustStore } from '../trust/store.ts';
import { elsewhere, type ListRequest, listCached, listVms } from '../vms/list-vms.ts';
import { VmCache } from '../vms/vm-cache.ts';
import { readRows, span, stateOf, type VmRow } from './vm-rows.ts';

export const command: Command = {
  usage: 'vms [--refresh] [--json]',
  help: `Lists the VMs of ssh.toml and every other instance that you may see in the region: state, whether it has a
Host block (BLOCK), which plain \`ssh VM\` needs, address, whether the host key is pinned, and the last login.
An instance is named after its Name tag, or its instance ID where it has none or another instance has the same.
\`mint-ssh ssh VM\` logs in to any of them.

Prints what is known, and asks AWS first when that is older than five minutes.`,
  options: {
    refresh: { type: 'boolean', description: 'ask AWS, however new the last answer is' },
    json: { type: 'boolean', description: 'print JSON: see docs/json.md' },
  },
  run,
};

/** A cached list that is older is refreshed. */
const maxAgeMs = 5 * 60_000;
/** How many names a command in a hint lists. */
const maxProposed = 3;

async function run({ positionals, values, globals }: Invocation): Promise<number> {
  if (positionals.length > 0) {
    throw new MintError('usage', 'too many arguments', { hint: `usage: mint-ssh ${command.usage}` });
  }
  const { profile, region } = globals;
  const paths = resolvePaths({ configDir: globals.configDir });
  const settings = loadSettings(paths, { profile, region });
  const cache = new VmCache(paths);
  const caller = thisCaller();
  const written = writtenNames(paths);
  const request = { caller, settings, approved: [...approvedNames(paths)], all: true };
  const isAsked = values['refresh'] === true || isOld(cache, request);
  const isComplete = !isAsked || (await refresh(cache, request));
  const known = listCached(cache, request);
  const rows = readRows(settings, known.vms, written.all, new TrustStore(paths).list());
  if (values['json'] === true) printJson(rows.map(toJson));
  else if (rows.length > 0) print(table(rows));
  else if (isComplete) {
    say(
      `no instances in ${elsewhere(settings).region ?? [...knownRegions(caller.environment)][0] ?? 'the region'}`,
    );
    hint('check the region and account: --region NAME, --profile NAME');
  }
  if (values['json'] !== true) proposeBlocks(rows);
  return isComplete ? 0 : 1;
}

function knownRegions(environment: Readonly<Record<string, string>>): readonly string[] {
  return [environment['AWS_REGION'], environment['AWS_DEFAULT_REGION']].filter(
    (region) => region !== undefined,
  );
}

/** Whether the VM has no name and is listed by its instance ID. */
function hasId({ name, instance }: VmRow): boolean {
  return name === instance;
}

/** The command that makes `ssh VM` work for the VMs that have no block. */
function proposeBlocks(rows: readonly VmRow[]): void {
  const without = rows.filter(({ hasBlock, vm }) => !hasBlock && vm?.state !== 'terminated');
  if (without.length === 0) return;
  // Instances with a name of their own first: those are the ones to log in to.
  const named = without.toSorted((one, other) => Number(hasId(one)) - Number(hasId(other)));
  const names = named.slice(0, maxProposed).map(({ name }) => name);
  const what = without.length === 1 ? '1 VM has' : `${without.length} VMs have`;
  say(`${what} no Host block, which plain \`ssh VM\` needs`);
  hint(`mint-ssh ssh-config ${names.map(shellWord).join(' ')}`);
}

/** Whether the cached list is too old to be shown, or is from the future. */
export function isOld(cache: VmCache, request: ListRequest): boolean {
  const { allListedAt } = listCached(cache, request);
  const ageMs = Date.now() - (allListedAt ?? 0);
  return ageMs < 0 || ageMs > maxAgeMs;
}

/**
 * Asks AWS for the VMs, and reports calls that failed.
 *
 * @returns whether every call succeeded; the caller prints the cached VMs in either case
 * @throws MintError `aws-…` if nothing is cached
 */
export async function refresh(cache: VmCache, request: ListRequest): Promise<boolean> {
  const before = listCached(cache, request);
  const aws = ownAws();
  try {
    const { problems, unusable } = await withProgress('asking AWS', () => listVms(aws, cache, request));
    cache.flush();
    const failures = problems.filter(({ code }) => code !== 'vm-not-found' && code !== 'vm-ambiguous');
    const [failure] = failures;
    if (failure !== undefined && before.vms.size === 0 && request.settings.vms.length === 0) throw failure;
    for (const problem of problems) {
      if (problem.code === 'vm-not-found') continue;
      const kind = failures.includes(problem) ? 'error' : 'note';
      say(`${kind}: ${printable(problem.message)} (${problem.code})`);
      if (kind === 'error' && problem.hint !== undefined) hint(printable(problem.hint));
    }
    for (const tag of unusable)
      say(`note: the name tag ${JSON.stringify(printable(tag.slice(0, 70)))} is not a valid VM name`);
    return failure === undefined;
  } finally {
    await aws.close();
  }
}

function table(rows: readonly VmRow[]): string {
  const head = ['VM', 'STATE', 'BLOCK', 'ADDRESS', 'HOST KEY', 'LAST LOGIN', 'INSTANCE', 'REGION'];
  const cells = rows.map(({ name, vm, hasBlock, address, instance, region, hostKey, lastUsed }) => [
    name,
    stateOf(vm),
    hasBlock ? 'yes' : 'no',
    address ?? '-',
    hostKey === 'another-vm' ? 'another VM' : hostKey,
    lastUsed === undefined ? '-' : `${span(Date.now() - Date.parse(lastUsed))} ago`,
    instance ?? '-',
    region ?? '-',
  ]);
  return columns(head, cells, { maxWidth: outputWidth(), optional: [7, 6, 5] });
}

function toJson({ name, vm, own, hasBlock, address, instance, region, ...row }: VmRow) {
  return {
    vm: name,
    state: vm?.state ?? null,
    bootstrap: vm?.bootstrap ?? null,
    instance: instance ?? null,
    host: address ?? null,
    port: own.port,
    user: own.user,
    region: region ?? null,
    account: vm?.account ?? null,
    owner: vm?.owner ?? null,
    has_block: hasBlock,
    host_key: row.hostKey,
    evidence: row.evidence ?? null,
    last_login_at: isoTime(row.lastUsed),
    seen_at: isoTime(vm?.seenAt),
  };
}
