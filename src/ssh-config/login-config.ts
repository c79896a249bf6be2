/** Makes the config for one run of ssh, for commands that log in without `~/.ssh/config`. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { GlobalOptions } from '../cli/command.ts';
import type { Paths } from '../platform/paths.ts';
import { programPath } from '../platform/program.ts';
import { withScratchDirectory } from '../platform/scratch.ts';
import { loadSettings, type VmSettings } from '../settings/settings.ts';
import { prepareDirectories } from './apply.ts';
import { quoteWord } from './quote.ts';
import { renderSshConfig, usedKeywords } from './render.ts';
import { effectiveConfig } from './ssh-client.ts';
import { includeUserAndSystem } from './system-config.ts';
import { identityAgentOf, otherName } from './user-effective-config.ts';

export interface Login {
  readonly paths: Paths;
  readonly vm: VmSettings;
  readonly globals: GlobalOptions;
  /** Whether the login may use a shared connection, and leave one open: `multiplex`. */
  readonly isShared?: boolean;
  /** Additional arguments for the proxy, not quoted yet. */
  readonly proxyOptions?: readonly string[];
}

/**
 * Calls `action` with a file for `ssh -F`: the VM's block, then the user's and the system's configs. The file is removed
 * before the promise settles.
 *
 * @returns the result of `action`
 * @throws MintError `io-failed`, `unsafe-permissions`
 */
export async function withLoginConfig<T>(
  { paths, vm, globals, isShared = false, proxyOptions: more = [] }: Login,
  action: (file: string) => Promise<T>,
): Promise<T> {
  return await withScratchDirectory(paths, async (directory) => {
    const theirs = await includeUserAndSystem({ user: true });
    const file = join(directory, 'config');
    writeFileSync(file, theirs, { mode: 0o600 });
    const [own, others] = await Promise.all([
      effectiveConfig(vm.name, file),
      effectiveConfig(otherName, file),
    ]);
    // The user's config may forward the agent to a host of this name. A name that comes from a tag does not inherit that.
    const isNamedByUser = loadSettings(paths, {}).vms.includes(vm.name);
    const forwardAgent = isNamedByUser && own.get('forwardagent')?.[0] === 'yes';
    const proxyOptions = [...passedOn(globals), ...more.map((word) => quoteWord(word))];
    const ours = renderSshConfig([{ vm, forwardAgent, isDedicated: !isShared }], {
      paths,
      program: programPath(),
      used: usedKeywords([own, others]),
      usersAgent: identityAgentOf(others),
      proxyOptions,
    });
    writeFileSync(file, `${ours}\n${theirs}`, { mode: 0o600 });
    prepareDirectories(paths, [vm.name]);
    return await action(file);
  });
}

/** The options of our own command line, for the proxy that ssh starts. */
function passedOn(globals: GlobalOptions): string[] {
  const words: string[] = [];
  for (const flag of ['profile', 'region'] as const) {
    const value = globals[flag];
    if (value !== undefined) words.push(`--${flag}`, quoteWord(value));
  }
  for (const flag of ['verbose', 'timing'] as const) {
    if (globals[flag]) words.push(`--${flag}`);
  }
  return words;
}
