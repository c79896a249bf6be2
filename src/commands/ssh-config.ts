import { existsSync } from 'node:fs';
import type { Command, Invocation } from '../cli/command.ts';
import { hint, print, printable, say } from '../cli/terminal.ts';
import { askApproval } from '../config/approval.ts';
import { quoted } from '../config/files.ts';
import { inspectInclude } from '../config/include.ts';
import { readOwnConfig } from '../config/own-config.ts';
import { type Paths, resolvePaths } from '../config/paths.ts';
import { programPath } from '../config/program.ts';
import { loadSettings, type VmSettings } from '../config/settings.ts';
import { unknownKeywords } from '../config/ssh-client.ts';
import { optionalKeywords, renderSshConfig } from '../config/ssh-config.ts';
import {
  type Change,
  carryOut,
  checkChange,
  planRemoval,
  planWriting,
  prepareDirectories,
} from '../config/ssh-config-change.ts';
import { findOverridden } from '../config/ssh-proof.ts';
import { quoteInclude } from '../config/ssh-quote.ts';
import { readUserConfig, type UserConfig, userConfigPath } from '../config/user-config.ts';
import { MintError } from '../errors.ts';

export const command: Command = {
  usage: 'ssh-config [--dry-run | --remove] [--yes] [--file PATH]',
  help: `Writes a Host block for every VM of ssh.toml, and the one Include line at the top of ~/.ssh/config that
brings them in. Shows what will change, and asks before it changes it.

  --dry-run          show what would change, and change nothing
  --remove           take the Include and the blocks out again; your own lines stay as they are
  -y, --yes          do not ask
  --file PATH        put the Include into PATH instead of ~/.ssh/config`,
  options: {
    'dry-run': { type: 'boolean' },
    remove: { type: 'boolean' },
    yes: { type: 'boolean', short: 'y' },
    file: { type: 'string' },
  },
  run,
};

/** Each of these costs two runs of `ssh -G`. */
const provenVms = 20;

async function run({ globals, values, positionals }: Invocation): Promise<number> {
  if (positionals.length > 0) {
    throw new MintError('usage', 'ssh-config takes no names', { hint: 'it writes every VM of ssh.toml' });
  }
  const file = values['file'] as string | undefined;
  const mode = { dryRun: values['dry-run'] === true, yes: values['yes'] === true };
  const paths = resolvePaths({ configDir: globals.configDir });
  if (values['remove'] === true) {
    return approveAndCarryOut(planRemoval(paths, readUserConfig(userConfigPath(file))), mode);
  }

  const vms = readVms(paths);
  if (vms.length === 0) return sayNoVms(paths);
  const userConfig = readUserConfig(userConfigPath(file));
  const text = await render(paths, vms, userConfig, file === undefined);
  sayWhatStays(paths, userConfig);
  const status = approveAndCarryOut(planWriting(paths, userConfig, text), mode);
  if (status !== 0 || mode.dryRun) return status;
  prepareDirectories(paths);
  await prove(paths, vms, userConfig.path, file);
  say(`ready: ssh ${vms[0]?.name}${vms.length > 1 ? `, and ${vms.length - 1} more` : ''}`);
  return 0;
}

function readVms(paths: Paths): readonly VmSettings[] {
  const settings = loadSettings(paths, {});
  return settings.vms.map((name) => settings.vm(name)).filter((vm) => vm !== undefined);
}

function sayNoVms(paths: Paths): number {
  say(`there are no VMs: ${quoted(paths.sshToml)} has no [vm.NAME]`);
  hint('add one: [vm.NAME] with instance = "i-…" and host = "…" below it');
  if (existsSync(paths.sshConfig)) hint('older blocks are still there: mint-ssh ssh-config --remove');
  return 0;
}

async function render(
  paths: Paths,
  vms: readonly VmSettings[],
  userConfig: UserConfig,
  withSystem: boolean,
): Promise<string> {
  const names = vms.map((vm) => vm.name);
  const include = quoteInclude(paths.sshConfig);
  const own = await readOwnConfig(userConfig, names, { include, sshConfig: paths.sshConfig, withSystem });
  // A name in ssh.toml is the person's own word, so it is written; they hear what it takes the place of.
  for (const [name, reason] of own.taken) say(`note: \`ssh ${name}\` will be the VM, although ${reason}`);
  const blocks = vms.map((vm) => ({ vm, forwardAgent: own.forwardsAgent.has(vm.name) }));
  const unknown = await unknownKeywords(optionalKeywords);
  return renderSshConfig(blocks, { paths, program: programPath(), unknown });
}

/** An Include that the user wrote is theirs: it stays, and ours goes to the top. */
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

/** The exit status: 0 when the change is made or only shown, 1 when the person said no. */
function approveAndCarryOut(
  change: Change,
  mode: { readonly dryRun: boolean; readonly yes: boolean },
): number {
  if (change.diff === '') {
    say('nothing to do');
    return 0;
  }
  print(change.diff);
  if (mode.dryRun) return 0;
  checkChange(change);
  if (!mode.yes && !askApproval('Make this change?')) {
    say('nothing was changed');
    return 1;
  }
  carryOut(change);
  return 0;
}

/** Throws `ssh-config-unsafe` where ssh, asked, would not do what the blocks say. */
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
