/** Plans which VMs get a block in our ssh_config, and renders it. */

import type { Paths } from '../platform/paths.ts';
import { programPath } from '../platform/program.ts';
import { hasForwardSockets } from '../platform/sockets.ts';
import { type WrittenNames, writtenNames } from '../settings/approved-names.ts';
import { readOpenJobs } from '../settings/open-jobs.ts';
import type { Settings, VmSettings } from '../settings/settings.ts';
import type { UsualLogin } from '../settings/usual-login.ts';
import { approvedNames } from '../ssh-config/approvals.ts';
import { quoteInclude } from '../ssh-config/quote.ts';
import { renderSshConfig } from '../ssh-config/render.ts';
import { aliasOf } from '../ssh-config/taken-names.ts';
import type { UserConfig } from '../ssh-config/user-config.ts';
import { readUserEffectiveConfig, type UserEffectiveConfig } from '../ssh-config/user-effective-config.ts';
import type { LocatedVm } from './located-vm.ts';
import { usualLogin } from './usual-login.ts';

/** How the VM of a name was found. Only `found` is set if this command did not ask AWS about it. */
export type FoundName = Pick<LocatedVm, 'found'> & Partial<LocatedVm>;

export interface PlanRequest {
  readonly paths: Paths;
  readonly settings: Settings;
  readonly userConfig: UserConfig;
  /** Whether ssh reads the system's config after the user's. */
  readonly withSystem: boolean;
  /** The VMs that were found; undefined if AWS was not reached, and then VMs with a block keep it. */
  readonly found: ReadonlyMap<string, FoundName> | undefined;
  /** The name of a job that is about to end, and gets no block. */
  readonly ending?: string | undefined;
  /** Names on the command line. */
  readonly named: readonly string[];
  /** Asks the user to approve names that refer to another host too, each with the reason. */
  readonly approve: (taken: ReadonlyMap<string, string>) => Promise<boolean>;
}

export interface BlockPlan {
  readonly vms: readonly VmSettings[];
  readonly text: string;
  /** All names that the user has approved, now or before. */
  readonly approved: ReadonlySet<string>;
  /** Names of ssh.toml that also refer to another host, each with the reason. */
  readonly replaced: ReadonlyMap<string, string>;
  /** The caller's own VMs that get no block because the user has not approved their names, each with the reason. */
  readonly leftOut: ReadonlyMap<string, string>;
}

/**
 * Gives blocks to the VMs of ssh.toml, to open jobs and to the caller's own VMs. A tagged name that also refers to
 * another host, and every name that was found by its `Name` tag, needs the user's approval, now or earlier.
 */
export async function planBlocks(request: PlanRequest): Promise<BlockPlan> {
  const { paths, settings, userConfig, withSystem, found, ending, named, approve } = request;
  const written = writtenNames(paths);
  const inFile = new Set(settings.vms);
  const before = approvedNames(paths);
  const byPerson = new Set([...named, ...before].filter((name) => !inFile.has(name)));
  const open = readOpenJobs(paths).map((job) => job.name);
  const jobs = new Set(open.filter((name) => name !== ending));
  const listed = found === undefined ? written.all : ownNames(found);
  const candidates = [...listed, ...byPerson, ...jobs];
  const others = [...new Set([...candidates, ...named])].filter((name) => !inFile.has(name)).sort();
  const include = quoteInclude(paths.sshConfig);
  const all = [...settings.vms, ...others];
  const settled = new Set(others.filter((name) => written.all.has(name) || byPerson.has(name)));
  const own = await readUserEffectiveConfig(userConfig, all, {
    paths,
    include,
    withSystem,
    settled,
    chosen: inFile,
  });

  const taken = new Map<string, string>();
  for (const name of others) {
    const reason = settled.has(name) ? undefined : (aliasReason(name, all) ?? own.taken.get(name));
    if (reason !== undefined) taken.set(name, reason);
  }
  const isApproved = taken.size > 0 && (await approve(taken));
  if (isApproved) for (const name of taken.keys()) byPerson.add(name);
  const leftOut = isApproved ? new Map<string, string>() : taken;
  const wanted = new Set([...byPerson, ...jobs]);
  const names = all.filter((name) => !leftOut.has(name) && mayStand(name, request, wanted, written.all));
  const vms = names.map((name) => settings.named(name, loginOf(found?.get(name), written.logins.get(name))));
  return {
    vms,
    text: await render(request, vms, { own, written }),
    approved: new Set([...before, ...byPerson]),
    replaced: new Map([...own.taken].filter(([name]) => inFile.has(name))),
    leftOut,
  };
}

/** A tag must not take the alias of another VM. */
function aliasReason(name: string, all: readonly string[]): string | undefined {
  const owner = all.find((other) => aliasOf(other) === name);
  return owner === undefined ? undefined : `it is the alias of your VM ${owner}`;
}

/** Ordinary instances get a block only if the user names them. */
function ownNames(found: ReadonlyMap<string, FoundName>): string[] {
  return [...found].filter(([, vm]) => vm.found === 'tag').map(([name]) => name);
}

/** User and port from AWS. Values that AWS did not return stay as they are in the block. */
function loginOf(vm: FoundName | undefined, written: UsualLogin = {}): UsualLogin {
  const { user, port } = vm?.instance === undefined ? {} : usualLogin(vm);
  return { user: user ?? written.user, port: port ?? written.port };
}

function mayStand(
  name: string,
  { settings, found }: PlanRequest,
  wanted: ReadonlySet<string>,
  written: ReadonlySet<string>,
): boolean {
  if (settings.vms.includes(name) || wanted.has(name)) return true;
  return found === undefined ? written.has(name) : found.get(name)?.found === 'tag';
}

async function render(
  { paths, settings, userConfig, found }: PlanRequest,
  vms: readonly VmSettings[],
  { own, written }: { readonly own: UserEffectiveConfig; readonly written: WrittenNames },
): Promise<string> {
  const blocks = vms.map((vm) => ({
    vm,
    spelling: found?.get(vm.name)?.spelling ?? written.spellings.get(vm.name),
    // Otherwise, anyone who can write tags could have the user's agent forwarded to an instance of their choice.
    forwardAgent: own.forwardsAgent.has(vm.name) && settings.vms.includes(vm.name),
  }));
  // On other systems the agent reads the settings itself, behind its own socket.
  const usersAgent = (hasForwardSockets ? undefined : settings.upstreamAgent) ?? own.identityAgent;
  return renderSshConfig(blocks, {
    paths,
    program: programPath(),
    used: own.used,
    usersAgent,
    includedFrom: userConfig.path,
  });
}
