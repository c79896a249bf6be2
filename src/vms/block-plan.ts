/** Which VMs get a block in our ssh_config, and the text of it. */

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
import { type OwnConfig, readOwnConfig } from '../ssh-config/user-effective-config.ts';
import type { LocatedVm } from './located-vm.ts';
import { usualLogin } from './usual-login.ts';

/** How a name led to a VM; without `instance` where AWS has not been asked about it just now. */
export type FoundName = Pick<LocatedVm, 'found'> & Partial<LocatedVm>;

export interface PlanRequest {
  readonly paths: Paths;
  readonly settings: Settings;
  readonly userConfig: UserConfig;
  /** Whether ssh reads the system's config behind the user's. */
  readonly withSystem: boolean;
  /** What was found; undefined where AWS was not reached: then what has a block keeps it. */
  readonly found: ReadonlyMap<string, FoundName> | undefined;
  /** A job that is about to end: it has no block any more. */
  readonly ending?: string | undefined;
  /** Names that the person gave on the command line. */
  readonly named: readonly string[];
  /** Asked about names that mean something else as well, each with the reason. */
  readonly approve: (taken: ReadonlyMap<string, string>) => Promise<boolean>;
}

export interface BlockPlan {
  readonly vms: readonly VmSettings[];
  readonly text: string;
  /** Every name that the user has approved, now or before. */
  readonly approved: ReadonlySet<string>;
  /** Names of ssh.toml that meant something else before, each with what. */
  readonly replaced: ReadonlyMap<string, string>;
  /** The caller's own VMs that are not written because the user has not approved their names. */
  readonly leftOut: ReadonlyMap<string, string>;
}

/**
 * What is in ssh.toml is written, and the caller's own VMs; a name that someone's tag could use to take a host's
 * place, and every name found by its `Name` tag, only where a person has approved it: now, or when it was written.
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
  const own = await readOwnConfig(userConfig, all, {
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

/** A tag must not take the alias that the block of another VM has. */
function aliasReason(name: string, all: readonly string[]): string | undefined {
  const owner = all.find((other) => aliasOf(other) === name);
  return owner === undefined ? undefined : `it is the alias of your VM ${owner}`;
}

/** Ordinary instances are written only when the user names them. */
function ownNames(found: ReadonlyMap<string, FoundName>): string[] {
  return [...found].filter(([, vm]) => vm.found === 'tag').map(([name]) => name);
}

/** As AWS has it; what AWS did not say stays as the block has it. */
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
  { own, written }: { readonly own: OwnConfig; readonly written: WrittenNames },
): Promise<string> {
  const blocks = vms.map((vm) => ({
    vm,
    spelling: found?.get(vm.name)?.spelling ?? written.spellings.get(vm.name),
    // Someone who can write tags could otherwise have the user's agent forwarded to an instance of their choice.
    forwardAgent: own.forwardsAgent.has(vm.name) && settings.vms.includes(vm.name),
  }));
  // Elsewhere the agent looks into the settings itself, behind its own socket.
  const usersAgent = (hasForwardSockets ? undefined : settings.upstreamAgent) ?? own.identityAgent;
  return renderSshConfig(blocks, {
    paths,
    program: programPath(),
    used: own.used,
    usersAgent,
    includedFrom: userConfig.path,
  });
}
