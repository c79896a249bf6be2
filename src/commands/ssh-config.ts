import { existsSync } from 'node:fs';
import { isatty } from 'node:tty';
import { ownAws } from '../aws/own-credentials.ts';
import type { Command, Invocation } from '../cli/command.ts';
import { withProgress } from '../cli/progress.ts';
import { command as shellCommand, shellWord } from '../cli/shell-command.ts';
import { hint, print, printable, say } from '../cli/terminal.ts';
import { MintError } from '../errors.ts';
import { thisCaller } from '../platform/caller.ts';
import { quoted } from '../platform/files.ts';
import { type Paths, resolvePaths } from '../platform/paths.ts';
import { system } from '../platform/system/system.ts';
import { writtenNames } from '../settings/approved-names.ts';
import { loadSettings, type Settings, type VmSettings } from '../settings/settings.ts';
import { vmName } from '../settings/vm-name.ts';
import {
  type Change,
  carryOut,
  checkChange,
  planRemoval,
  planWriting,
  prepareDirectories,
} from '../ssh-config/apply.ts';
import { askApproval } from '../ssh-config/approval.ts';
import { approvedNames } from '../ssh-config/approvals.ts';
import { inspectInclude } from '../ssh-config/include.ts';
import { quoteInclude } from '../ssh-config/quote.ts';
import { readUserConfig, type UserConfig, userConfigPath } from '../ssh-config/user-config.ts';
import { findOverridden } from '../ssh-config/verify.ts';
import { type BlockPlan, type FoundName, planBlocks } from '../vms/block-plan.ts';
import { listCached, listVms } from '../vms/list-vms.ts';
import type { LocatedVm } from '../vms/located-vm.ts';
import { VmCache } from '../vms/vm-cache.ts';

export const command: Command = {
  usage: 'ssh-config [NAME…] [--dry-run | --remove] [--yes] [--refresh] [--file PATH]',
  help: `Writes a Host block for each NAME, for every VM of ssh.toml and every VM that Mint tagged as yours, and one
Include line at the top of ~/.ssh/config that includes them. Shows what will change, and asks before it
changes anything. NAME is any name that \`mint-ssh vms\` shows; once written, a block stays until --remove.
With --profile or --region it looks for VMs there, and keeps every block of other VMs.

User and port come from ssh.toml, else they are the VM's usual ones: the user its image comes with and port
22, or \`ubuntu\` and 41122 for a VM that Mint tagged. A name that already means something else to your ssh is
written only when you give it as NAME. Blocks that Mint itself wrote stay as they are; the
Include comes before them.`,
  options: {
    'dry-run': { type: 'boolean', description: 'show what would change, and change nothing' },
    remove: {
      type: 'boolean',
      description: 'take the Include and the blocks out again; your own lines stay as they are',
    },
    yes: { type: 'boolean', short: 'y', description: 'do not ask' },
    refresh: { type: 'boolean', description: 'ask AWS, however new the last answer is' },
    // `setup` shows what it writes, and asks, before it gets here.
    quiet: { type: 'boolean', hidden: true },
    file: {
      type: 'string',
      value: 'PATH',
      description: 'put the Include into PATH instead of ~/.ssh/config',
    },
  },
  run,
};

/** Each of these costs two runs of `ssh -G`. */
const provenVms = 20;
/** A cached list of VMs that is older is refreshed. */
const maxAgeMs = 15_000;
/** How many names a message lists. */
const maxListed = 10;

async function run({ globals, values, positionals }: Invocation): Promise<number> {
  const named = positionals.map(vmName);
  const file = values['file'] as string | undefined;
  const isQuiet = values['quiet'] === true;
  const mode = { dryRun: values['dry-run'] === true, yes: values['yes'] === true, isQuiet };
  const paths = resolvePaths({ configDir: globals.configDir });
  if (values['remove'] === true) {
    return approveAndCarryOut(planRemoval(paths, readUserConfig(userConfigPath(file))), mode);
  }

  const flags = { profile: globals.profile, region: globals.region };
  const settings = loadSettings(paths, flags);
  const discovered = await discover(paths, settings, named, values['refresh'] === true);
  const { problem } = discovered;
  const written = writtenNames(paths).all;
  const isElsewhere = flags.profile !== undefined || flags.region !== undefined;
  const found = isElsewhere ? withWritten(discovered.vms, written, named) : discovered.vms;
  if (problem !== undefined) {
    // AWS did not answer, and there is nothing to write and no block to keep.
    if (settings.vms.length === 0 && written.size === 0) throw problem;
    say(`note: could not list your VMs: ${problem.message} (${problem.code})`);
  }
  const userConfig = readUserConfig(userConfigPath(file));
  const withSystem = file === undefined;
  const approve = (taken: ReadonlyMap<string, string>) => approveNames(taken, mode);
  const plan = await planBlocks({ paths, settings, userConfig, withSystem, found, named, approve });
  const { vms } = plan;
  sayPlan(plan);
  if (vms.length === 0) return sayNoVms(paths, discovered.vms);
  sayGuessedUsers(vms, discovered);
  sayOnlyByOption(vms, discovered, loadSettings(paths, {}));
  const names = new Set(vms.map(({ name }) => name));
  sayWhatStays(paths, userConfig);
  if (!system.hasSharedConnections && vms.some(({ multiplex }) => multiplex !== undefined))
    say('note: `multiplex` does nothing on Windows: its ssh has no connections to share');
  const change = planWriting(paths, userConfig, plan);
  const status = await approveAndCarryOut(change, mode, () => summary(change, vms, written));
  if (status !== 0 || mode.dryRun) return status;
  prepareDirectories(paths, names);
  await prove(paths, vms, userConfig.path, file);
  const ssh = file === undefined ? 'ssh' : shellCommand`ssh -F ${userConfig.path}`;
  say(`ready: ${ssh} ${vms[0]?.name}${vms.length > 1 ? `, and ${vms.length - 1} more` : ''}`);
  return 0;
}

function sayNoVms(paths: Paths, found: ReadonlyMap<string, LocatedVm> | undefined): number {
  const names = [...(found?.keys() ?? [])];
  if (names.length === 0) {
    say(`no VM to write: ${quoted(paths.sshToml)} names none, and AWS shows no instance`);
    hint('check the region and account: mint-ssh vms --region NAME --profile NAME');
  } else {
    say(`no VM to write: Mint tagged none as yours, and ${quoted(paths.sshToml)} names none`);
    say(`AWS shows ${listed(names)}`);
    hint(`name the ones you want: mint-ssh ssh-config ${names.slice(0, 3).map(shellWord).join(' ')}`);
  }
  if (existsSync(paths.sshConfig)) hint('older blocks are still there: mint-ssh ssh-config --remove');
  return 0;
}

function listed(names: readonly string[]): string {
  const more = names.length > maxListed ? `, and ${names.length - maxListed} more` : '';
  return `${names.slice(0, maxListed).join(', ')}${more}`;
}

/** A user that neither ssh.toml nor the image gives may be wrong: the login would be refused. */
function sayGuessedUsers(vms: readonly VmSettings[], { vms: found, imagesProblem }: Discovered): void {
  const guessed = vms.filter(({ name, hasLogin }) => {
    const vm = found?.get(name);
    return !hasLogin && vm !== undefined && vm.isMint !== true && vm.found !== 'tag' && vm.user === undefined;
  });
  const [first] = guessed;
  if (first === undefined) return;
  const why = imagesProblem === undefined ? '' : `: ${imagesProblem.message} (${imagesProblem.code})`;
  say(`note: the image of ${listed(guessed.map(({ name }) => name))} does not tell its user${why}`);
  hint(`"${first.user}" is assumed; if a login is refused: [vm.${first.name}] with user = "…" in ssh.toml`);
}

/**
 * Another region or account says nothing about the blocks that are already written, even if it has a VM of such a name:
 * those blocks stay as they are, unless the user has typed the name.
 */
function withWritten(
  found: Discovered['vms'],
  written: ReadonlySet<string>,
  named: readonly string[],
): ReadonlyMap<string, FoundName> | undefined {
  if (found === undefined) return undefined;
  const kept = [...written].filter((name) => !named.includes(name));
  return new Map([...found, ...kept.map((name): [string, FoundName] => [name, { found: 'tag' }])]);
}

/**
 * A block does not keep `--profile` and `--region`, so a login asks in another account or region.
 * @param plain the settings without the two options
 */
function sayOnlyByOption(vms: readonly VmSettings[], { vms: found }: Discovered, plain: Settings): void {
  for (const key of ['profile', 'region'] as const) {
    const usual = (name: string) => plain.named(name)[key] ?? inEnvironment(key);
    const others = vms.filter((vm) => found?.has(vm.name) === true && vm[key] !== usual(vm.name));
    const [first] = others;
    if (first?.[key] === undefined) continue;
    const names = listed(others.map(({ name }) => name));
    const option = `--${key} ${printable(first[key])}`;
    say(
      `note: a login to ${names} does not use ${option}, and an ssh-config without it may remove the block`,
    );
    hint(`to have it used: [vm.${first.name}] with ${key} = ${JSON.stringify(first[key])} in ssh.toml`);
  }
}

/** What a login takes where neither ssh.toml nor an option says it. */
function inEnvironment(key: 'profile' | 'region'): string | undefined {
  const { env } = process;
  return key === 'profile'
    ? env['AWS_DEFAULT_PROFILE'] || env['AWS_PROFILE']
    : env['AWS_REGION'] || env['AWS_DEFAULT_REGION'];
}

interface Discovered {
  /** Undefined where AWS was not reached. */
  readonly vms: ReadonlyMap<string, LocatedVm> | undefined;
  readonly problem: MintError | undefined;
  readonly imagesProblem?: MintError | undefined;
}

/**
 * Asks AWS for the caller's own VMs and for what was named.
 * @throws MintError `vm-not-found` for a name that AWS does not know; `vm-ambiguous`; `aws-…`
 */
async function discover(
  paths: Paths,
  settings: Settings,
  named: readonly string[],
  refresh: boolean,
): Promise<Discovered> {
  const aws = ownAws();
  const cache = new VmCache(paths);
  const caller = thisCaller();
  try {
    const approved = [...new Set([...named, ...approvedNames(paths)])];
    const known = listCached(cache, { caller, settings });
    const isNew = known.allListedAt !== undefined && Math.abs(Date.now() - known.allListedAt) < maxAgeMs;
    if (isNew && !refresh && approved.every((name) => known.vms.has(name))) {
      return { vms: known.vms, problem: undefined };
    }
    const { vms, problems, unusable, imagesProblem } = await withProgress('asking AWS', () =>
      listVms(aws, cache, { caller, settings, approved, all: true }),
    );
    for (const tag of unusable)
      say(`note: the name tag ${JSON.stringify(printable(tag.slice(0, 70)))} is not a valid VM name`);
    const failure = problems.find(({ code }) => code !== 'vm-not-found' && code !== 'vm-ambiguous');
    for (const name of named) {
      if (vms.has(name) || settings.vms.includes(name)) continue;
      throw failure ?? problems.find(({ message }) => message.includes(` ${name}`)) ?? unknownName(name);
    }
    for (const { code, message } of problems) {
      if (code === 'vm-ambiguous') say(`note: ${message}`);
    }
    return { vms: failure === undefined ? vms : undefined, problem: failure, imagesProblem };
  } finally {
    cache.flush();
    await aws.close();
  }
}

function unknownName(name: string): MintError {
  return new MintError('vm-not-found', `AWS shows no VM named ${name}`, {
    hint: '`mint-ssh vms --refresh` lists the VMs of the region',
  });
}

/** What the change does, in short parts, for the prompt below its diff. */
function summary(change: Change, vms: readonly VmSettings[], written: ReadonlySet<string>): string[] {
  const added = vms.filter(({ name }) => !written.has(name));
  const names = new Set(vms.map(({ name }) => name));
  const removed = [...written].filter((name) => !names.has(name));
  const { before, after } = change.user;
  const parts = [
    ...(added.length > 0 ? [`add ${listed(added.map(({ name }) => name))}`] : []),
    ...(removed.length > 0 ? [`remove ${listed(removed)}`] : []),
    ...(before !== after ? [`one Include line in ${change.userConfig.path}`] : []),
  ];
  return parts.length === 0 ? ['update the blocks'] : parts;
}

/** Warns about names that already mean something else. They are written only with the user's approval. */
async function approveNames(
  taken: ReadonlyMap<string, string>,
  mode: { readonly dryRun: boolean; readonly yes: boolean },
): Promise<boolean> {
  if (mode.dryRun || mode.yes || !isatty(2)) return false;
  for (const [name, reason] of taken) say(`${name}: ${reason}`);
  const names = [...taken.keys()];
  return askApproval(`Should ${names.map((name) => `\`ssh ${name}\``).join(', ')} be your VM all the same?`);
}

function sayPlan({ replaced, leftOut }: BlockPlan): void {
  // A name in ssh.toml was chosen by the user, so it is written, with a note of what it replaces.
  for (const [name, reason] of replaced) say(`note: \`ssh ${name}\` will be the VM, although ${reason}`);
  for (const [name, reason] of leftOut) {
    say(`note: your VM ${name} is left out, because ${reason}; to have it: mint-ssh ssh-config ${name}`);
  }
}

/** Notes an Include that the user wrote by hand; it stays where it is. */
function sayWhatStays(paths: Paths, { bytes, path }: UserConfig): void {
  const { byHand } = inspectInclude(bytes, quoteInclude(paths.sshConfig), paths.sshConfig);
  if (byHand === undefined) return;
  const line = `line ${byHand.line} of ${quoted(path)}`;
  if (byHand.under === undefined) say(`note: ${line} includes the blocks as well; it stays`);
  else
    say(
      `note: ${line} includes the blocks too, but only for the Host or Match of line ${byHand.under}; it stays`,
    );
}

/**
 * Shows the change and asks for approval.
 * @param summarize says in short parts what the change is, for the question
 * @returns the exit status: 0 when the change is made or only shown, 1 when the user declined
 */
async function approveAndCarryOut(
  change: Change,
  mode: { readonly dryRun: boolean; readonly yes: boolean; readonly isQuiet: boolean },
  summarize: () => readonly string[] = () => ['remove the blocks and the Include line'],
): Promise<number> {
  if (change.diff === '') {
    // The user approves a name whose block is already written.
    if (!mode.dryRun && change.approved !== undefined) carryOut(change);
    say('nothing to do');
    return 0;
  }
  if (!mode.isQuiet) print(change.diff);
  if (mode.dryRun) return 0;
  checkChange(change);
  if (!mode.yes) {
    for (const [at, part] of summarize().entries()) say(`${at === 0 ? 'this would' : 'and'} ${part}`);
    if (!(await askApproval('Make this change?'))) {
      say('nothing was changed');
      return 1;
    }
  }
  carryOut(change);
  return 0;
}

/**
 * Checks with `ssh -G` that ssh does what the blocks say.
 * @throws MintError `ssh-config-unsafe`
 */
async function prove(
  paths: Paths,
  vms: readonly VmSettings[],
  userPath: string,
  file: string | undefined,
): Promise<void> {
  const names = vms.slice(0, provenVms).map((vm) => vm.name);
  const overridden = await findOverridden(names, paths.sshConfig, readUserConfig(userPath), file && userPath);
  const first = overridden[0];
  if (first === undefined) return;
  for (const { vm, keyword, wanted, found, line } of overridden) {
    const where = line === undefined ? '' : `, perhaps by line ${line} of ${quoted(userPath)}`;
    say(`${vm}: ${keyword} is ${printable(found)} and not ${printable(wanted)}${where}`);
  }
  throw new MintError('ssh-config-unsafe', `your ssh config overrides what \`ssh ${first.vm}\` needs`, {
    hint: 'move those lines below the Include of mint-ssh, or use: mint-ssh ssh VM',
  });
}
