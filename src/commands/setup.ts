/**
 * `mint-ssh setup`: lists the instances, lets the user pick, tries a login to each, and then writes ssh.toml and the Host
 * blocks. It writes nothing before the user has seen and approved it.
 */
import { lstatSync } from 'node:fs';
import { isatty } from 'node:tty';
import { ownAws } from '../aws/own-credentials.ts';
import type { Command, GlobalOptions, Invocation } from '../cli/command.ts';
import { startProgress, withProgress } from '../cli/progress.ts';
import { shellWord } from '../cli/shell-command.ts';
import { closest } from '../cli/suggest.ts';
import { hint, print, printable, say } from '../cli/terminal.ts';
import { tryLogin } from '../doctor/login.ts';
import { MintError } from '../errors.ts';
import { thisCaller } from '../platform/caller.ts';
import { ensurePrivateDirectory, quoted, readPrivateFile, writeAtomic } from '../platform/files.ts';
import { type Paths, resolvePaths } from '../platform/paths.ts';
import { loadSettings, type Settings, type VmSettings } from '../settings/settings.ts';
import { vmName } from '../settings/vm-name.ts';
import { askApproval } from '../ssh-config/approval.ts';
import { userConfigPath } from '../ssh-config/user-config.ts';
import { listVms } from '../vms/list-vms.ts';
import type { LocatedVm } from '../vms/located-vm.ts';
import { usualLogin } from '../vms/usual-login.ts';
import { VmCache } from '../vms/vm-cache.ts';
import { command as sshConfigCommand } from './ssh-config.ts';

export const command: Command = {
  usage: 'setup [VM…] [--yes] [--file PATH]',
  help: `Sets up plain \`ssh VM\`. Finds the instances of the region, lets you pick (or takes each VM you name), logs in
to each one that runs, shows what it would add to ssh.toml and ~/.ssh/config, and writes it when you approve. Entries
that are in ssh.toml already stay as they are.

  mint-ssh setup
  mint-ssh setup build data --yes
  mint-ssh setup --profile work --region eu-central-1`,
  logsIn: true,
  options: {
    yes: { type: 'boolean', short: 'y', description: 'do not ask' },
    file: {
      type: 'string',
      value: 'PATH',
      description: 'put the Include into PATH instead of ~/.ssh/config',
    },
  },
  run,
};

const loginLimitMs = 30_000;
/** How many logins are tried at once. */
const maxLogins = 4;
const maxBytes = 1_000_000;
/** Tried in this order where sshd refuses the user that the image should have. */
const otherUsers = ['ec2-user', 'ubuntu', 'admin'];

interface Proven {
  readonly vm: VmSettings;
  readonly located: LocatedVm;
  /** Undefined where the login succeeded. */
  readonly problem: { readonly message: string; readonly hint: string | undefined } | undefined;
}

async function run({ positionals, values, globals }: Invocation): Promise<number> {
  const paths = resolvePaths({ configDir: globals.configDir });
  const settings = loadSettings(paths, { profile: globals.profile, region: globals.region });
  const file = values['file'] as string | undefined;
  // A file that cannot be written is an error before anything is asked.
  const config = userConfigPath(file);
  const all = await findAll(paths, settings);
  const chosen = positionals.length > 0 ? named(positionals, all) : await choose(all);
  if (chosen.length === 0) {
    say('no VM was chosen, and nothing was changed');
    return 1;
  }
  const results = await proveAll(chosen, { paths, settings, globals });
  const proven = results.filter(({ problem }) => problem === undefined);
  for (const { vm, problem } of results) {
    if (problem === undefined) say(`${vm.name}: logged in as ${vm.user}, port ${vm.port}`);
    else say(`${vm.name}: ${problem.message}`);
    if (problem?.hint !== undefined) hint(problem.hint);
  }
  // No login is tried on a stopped VM; it is written with the expected user and port.
  const written = results.filter(
    ({ problem, located }) => problem === undefined || located.state !== 'running',
  );
  if (written.length === 0) {
    hint(`mint-ssh doctor ${results[0]?.vm.name}`);
    return 1;
  }
  const entries = written.filter(({ vm }) => !settings.vms.includes(vm.name));
  const text = entries.map((entry) => tomlEntry(entry, globals)).join('\n');
  if (text !== '') print(`to be added to ${quoted(paths.sshToml)}:\n\n${text}`);
  say(`to be written: Host blocks for ${written.map(({ vm }) => vm.name).join(', ')}`);
  say(`and one Include line in ${quoted(config)}`);
  if (values['yes'] !== true && !(await askApproval('Write this?'))) {
    say('nothing was changed');
    return 1;
  }
  if (text !== '') appendSettings(paths, text);
  const names = written.map(({ vm }) => vm.name);
  const status = await sshConfigCommand.run({
    positionals: names,
    values: { yes: true, quiet: true, ...(file === undefined ? {} : { file }) },
    rest: undefined,
    globals,
  });
  if (status !== 0) return status;
  return proven.length === results.length ? 0 : 1;
}

/**
 * Lists the instances.
 * @throws MintError `aws-…`
 */
async function findAll(paths: Paths, settings: Settings): Promise<ReadonlyMap<string, LocatedVm>> {
  const aws = ownAws();
  const cache = new VmCache(paths);
  const caller = thisCaller();
  try {
    const request = { caller, settings, approved: [], all: true };
    const { vms, problems } = await withProgress('asking AWS for your instances', () =>
      listVms(aws, cache, request),
    );
    const failure = problems.find(({ code }) => code !== 'vm-not-found' && code !== 'vm-ambiguous');
    if (failure !== undefined) throw failure;
    if (vms.size > 0) return vms;
    throw new MintError('vm-not-found', 'AWS shows no instance in this region', {
      hint: 'another region or account: --region NAME, --profile NAME',
    });
  } finally {
    cache.flush();
    await aws.close();
  }
}

/** @throws MintError `bad-vm-name`, `vm-not-found` */
function named(words: readonly string[], all: ReadonlyMap<string, LocatedVm>): LocatedVm[] {
  return words.map((word) => {
    const name = vmName(word);
    const found = all.get(name);
    if (found !== undefined) return found;
    const near = closest(name, all.keys());
    throw new MintError('vm-not-found', `AWS shows no VM named ${name}`, {
      hint: near === undefined ? 'mint-ssh vms' : `did you mean: mint-ssh setup ${shellWord(near)}`,
    });
  });
}

/** @throws MintError `usage` without a terminal */
async function choose(all: ReadonlyMap<string, LocatedVm>): Promise<readonly LocatedVm[]> {
  if (!isatty(0) || !isatty(1)) {
    throw new MintError('usage', 'picking VMs needs a terminal', {
      hint: `name them: mint-ssh setup ${[...all.keys()].slice(0, 3).map(shellWord).join(' ')} --yes`,
    });
  }
  const { pickSeveral } = await import('./pick-several.ts');
  return await pickSeveral([...all.values()]);
}

interface Context {
  readonly paths: Paths;
  readonly settings: Settings;
  readonly globals: GlobalOptions;
}

async function proveAll(vms: readonly LocatedVm[], context: Context): Promise<readonly Proven[]> {
  const results: Proven[] = [];
  const waiting = [...vms];
  const progress = startProgress('logging in');
  const work = async () => {
    for (let vm = waiting.shift(); vm !== undefined; vm = waiting.shift()) {
      progress.update(`logging in to ${printable(vm.name)}`);
      results.push(await proveOne(vm, context));
    }
  };
  try {
    await Promise.all(Array.from({ length: maxLogins }, work));
  } finally {
    progress.end();
  }
  return vms.map((vm) => results.find(({ located }) => located === vm)).filter((one) => one !== undefined);
}

/** Tries a login with the image's usual user; if sshd refuses it, with other common users. */
async function proveOne(located: LocatedVm, { paths, settings, globals }: Context): Promise<Proven> {
  const usual = settings.named(located.name, usualLogin(located));
  if (located.state !== 'running') {
    return { vm: usual, located, problem: { message: `not tried: it is ${located.state}`, hint: undefined } };
  }
  const isUserSet = settings.vm(located.name) !== undefined && usual.hasLogin;
  const users = isUserSet ? [usual.user] : [...new Set([usual.user, ...otherUsers])];
  let problem: Proven['problem'];
  for (const user of users) {
    const vm = { ...usual, user };
    const request = { paths, vm, globals, environment: process.env, proxyOptions: ['--by-name'] };
    const { status, code, message, hint: advice } = await tryLogin(request, loginLimitMs);
    if (status === 0) return { vm, located, problem: undefined };
    problem ??= { message: message === '' ? 'the login failed' : message, hint: advice };
    if (code !== 'login-refused') break;
  }
  return { vm: usual, located, problem };
}

/** The ssh.toml entry. It names the instance, so that no other instance can take over the name by its tag. */
function tomlEntry({ vm, located }: Proven, { region, profile }: GlobalOptions): string {
  const lines = [
    `[vm.${/^[A-Za-z0-9_-]+$/.test(vm.name) ? vm.name : JSON.stringify(vm.name)}]`,
    `instance = ${JSON.stringify(located.instance)}`,
    `user = ${JSON.stringify(vm.user)}`,
    `port = ${vm.port}`,
    ...(region === undefined ? [] : [`region = ${JSON.stringify(region)}`]),
    ...(profile === undefined ? [] : [`profile = ${JSON.stringify(profile)}`]),
  ];
  return `${lines.join('\n')}\n`;
}

/**
 * Appends to ssh.toml and keeps what the user wrote.
 * @throws MintError `io-failed` if the file is a link
 */
function appendSettings(paths: Paths, text: string): void {
  ensurePrivateDirectory(paths.dir);
  const path = paths.sshToml;
  if (lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink()) {
    throw new MintError('io-failed', `${quoted(path)} is a link, which mint-ssh does not replace`, {
      hint: 'add the entries above to the file it points to, then: mint-ssh ssh-config',
    });
  }
  const before = readPrivateFile(path, { maxBytes })?.toString('utf8') ?? '';
  const gap = before === '' ? '' : before.endsWith('\n') ? '\n' : '\n\n';
  writeAtomic(path, `${before}${gap}${text}`, { mode: 0o600 });
}
