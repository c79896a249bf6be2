import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Command, GlobalOptions, Invocation } from '../cli/command.ts';
import { resolvePaths } from '../config/paths.ts';
import { programPath } from '../config/program.ts';
import { loadSettings, type Settings, type VmSettings } from '../config/settings.ts';
import { effectiveConfig, noSsh, unknownKeywords } from '../config/ssh-client.ts';
import { optionalKeywords, renderSshConfig } from '../config/ssh-config.ts';
import { prepareDirectories } from '../config/ssh-config-change.ts';
import { includeTheirConfigs } from '../config/system-config.ts';
import { vmName } from '../config/vm-name.ts';
import { MintError } from '../errors.ts';

export const command: Command = {
  usage: 'ssh VM [-- ARGS…]',
  help: `Runs ssh to a VM without touching ~/.ssh/config. ARGS are what ssh itself takes behind the host: options,
then a command. The exit status is ssh's own.

  mint-ssh ssh dev
  mint-ssh ssh dev -- uptime
  mint-ssh ssh dev -- -L 8080:localhost:80 -N`,
  options: {},
  run,
};

async function run({ positionals, rest, globals }: Invocation): Promise<number> {
  const [given, ...more] = positionals;
  if (given === undefined || more.length > 0) {
    throw new MintError('usage', given === undefined ? 'which VM?' : 'what is for ssh stands behind --', {
      hint: `usage: mint-ssh ${command.usage}`,
    });
  }
  const name = vmName(given);
  const paths = resolvePaths({ configDir: globals.configDir });
  const settings = loadSettings(paths, { profile: globals.profile, region: globals.region });
  const vm = knownVm(settings, name);
  const directory = mkdtempSync(join(tmpdir(), 'mint-ssh-'));
  try {
    const theirs = includeTheirConfigs({ user: true });
    const file = join(directory, 'config');
    writeFileSync(file, theirs, { mode: 0o600 });
    const own = await effectiveConfig(name, file);
    const forwardAgent = own.get('forwardagent')?.[0] === 'yes';
    const unknown = await unknownKeywords(optionalKeywords);
    const proxyOptions = passedOn(globals);
    const ours = renderSshConfig([{ vm, forwardAgent }], {
      paths,
      program: programPath(),
      unknown,
      proxyOptions,
    });
    writeFileSync(file, `${ours}\n${theirs}`, { mode: 0o600 });
    prepareDirectories(paths);
    return await runSsh(['-F', file, name, ...(rest ?? [])]);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

function knownVm(settings: Settings, name: string): VmSettings {
  const vm = settings.vm(name);
  if (vm !== undefined) return vm;
  const names = settings.vms.slice(0, 10).join(', ');
  throw new MintError('vm-not-found', `no VM is called ${name}`, {
    hint:
      names === '' ? 'ssh.toml has no VMs: add [vm.NAME] with instance and host' : `ssh.toml has ${names}`,
  });
}

/** What was said on our own command line holds for the proxy, which ssh starts. */
function passedOn(globals: GlobalOptions): string[] {
  const words: string[] = [];
  for (const flag of ['profile', 'region'] as const) {
    const value = globals[flag];
    if (value !== undefined) words.push(`--${flag}`, shellWord(value));
  }
  for (const flag of ['verbose', 'timing'] as const) {
    if (globals[flag]) words.push(`--${flag}`);
  }
  return words;
}

function shellWord(value: string): string {
  return `'${value.replaceAll("'", "'\\''").replaceAll('%', '%%')}'`;
}

/** Resolves to ssh's exit status; what a signal ended is 128 and its number, as a shell has it. */
function runSsh(words: readonly string[]): Promise<number> {
  return new Promise((resolve, reject) => {
    const child = spawn('ssh', words, { stdio: 'inherit' });
    // The terminal's own signals reach ssh as well: we only have to outlive it. Others we hand on.
    const ignore = () => {};
    const handOn = (signal: NodeJS.Signals) => child.kill(signal);
    process.on('SIGINT', ignore).on('SIGQUIT', ignore);
    process.on('SIGTERM', handOn).on('SIGHUP', handOn);
    child.once('error', (error) => reject(noSsh(error)));
    child.once('exit', (status, signal) => {
      process.off('SIGINT', ignore).off('SIGQUIT', ignore);
      process.off('SIGTERM', handOn).off('SIGHUP', handOn);
      resolve(status ?? 128 + (signal === null ? 0 : constants.signals[signal]));
    });
  });
}
