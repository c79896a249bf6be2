/** Checks that `ssh VM` uses our block, and which other keys it may offer. */

import { accessSync, constants, existsSync } from 'node:fs';
import { homedir, userInfo } from 'node:os';
import { command } from '../cli/shell-command.ts';
import { quoted, readPrivateFile } from '../platform/files.ts';
import { inspectInclude } from '../ssh-config/include.ts';
import { quoteInclude } from '../ssh-config/quote.ts';
import { effectiveConfig } from '../ssh-config/ssh-client.ts';
import { readUserConfig, userConfigPath } from '../ssh-config/user-config.ts';
import { findOverridden } from '../ssh-config/verify.ts';
import { type Finding, fail, ok, warn } from './check.ts';
import type { CheckContext, VmContext } from './context.ts';

const maxBytes = 64_000_000;

/**
 * Checks that our Include is in place, and that every VM of ssh.toml and every VM of the caller has a block.
 *
 * @throws MintError `unsafe-permissions`, `ssh-config-unsafe`, `io-failed`
 */
export function checkInclude(context: CheckContext): readonly Finding[] {
  const { paths, vms, discovered } = context;
  const write = writeCommand(context);
  const path = userConfigPath(context.sshConfigFile, context.environment);
  const blocks = readPrivateFile(paths.sshConfig, { maxBytes })?.toString('latin1');
  if (blocks === undefined) {
    return [warn('there are no blocks: `mint-ssh ssh VM` works, but `ssh VM` does not', write)];
  }
  const { inPlace, byHand } = inspectInclude(
    readUserConfig(path).bytes,
    quoteInclude(paths.sshConfig),
    paths.sshConfig,
  );
  const findings: Finding[] = [];
  if (inPlace) findings.push(ok(`the Include is at the top of ${quoted(path)}`));
  else if (byHand !== undefined) {
    findings.push(
      warn(
        `you wrote the Include in line ${byHand.line} of ${quoted(path)}: lines above it may override the blocks`,
        write,
      ),
    );
  } else findings.push(fail(`${quoted(path)} does not include the blocks at its top`, write));
  const written = new Set([...blocks.matchAll(/^Host (\S+)/gm)].map(([, name]) => name));
  const missing = vms.filter(({ name }) => !written.has(name));
  if (missing.length > 0) {
    const names = missing.map(({ name }) => name);
    findings.push(fail(`no block for ${shortened(names)}`, write));
  }
  const others = [...discovered.values()].filter(({ found }) => found === 'tag').map(({ name }) => name);
  const unwritten = others.filter((name) => !written.has(name));
  if (unwritten.length > 0) {
    findings.push(warn(`no block for ${shortened(unwritten)}, which AWS shows as yours`, write));
  }
  return findings;
}

/**
 * Checks the values that ssh uses for the VM, by `ssh -G` with the user's config.
 *
 * @throws MintError `io-failed` if ssh refuses the config
 */
export async function checkBlock(context: VmContext): Promise<readonly Finding[]> {
  const { paths, vm, sshConfigFile } = context;
  const path = knownConfigPath(context);
  if (path === undefined || !existsSync(paths.sshConfig)) return [];
  const wanted = await effectiveConfig(vm.name, paths.sshConfig);
  const command = wanted.get('proxycommand')?.[0];
  if (command === undefined) return [];
  const program = /^"([^"]+)"/.exec(command)?.[1]?.replaceAll('%%', '%');
  if (program !== undefined && !isProgram(program)) {
    return [fail(`the block runs ${quoted(program)}, which does not exist`, writeCommand(context))];
  }
  const overridden = await findOverridden([vm.name], paths.sshConfig, readUserConfig(path), sshConfigFile);
  if (overridden.length === 0) return [ok(`\`ssh ${vm.name}\` uses the block`)];
  if (overridden.some(({ keyword }) => keyword === 'proxycommand')) {
    const found = overridden.find(({ keyword }) => keyword === 'proxycommand')?.found;
    return [
      fail(`\`ssh ${vm.name}\` does not run mint-ssh: ProxyCommand is ${found}`, writeCommand(context)),
    ];
  }
  return overridden.map(({ keyword, wanted: ours, found, line }) => {
    const where = line === undefined ? '' : `, perhaps by line ${line} of ${quoted(path)}`;
    return fail(
      `${keyword} is ${found} instead of ${ours}${where}`,
      'move that line below the Include of mint-ssh',
    );
  });
}

/** Lists the user's key files that ssh tries after our key. Each one counts against MaxAuthTries. */
export async function checkOfferedKeys(context: VmContext): Promise<readonly Finding[]> {
  const { vm, sshConfigFile } = context;
  if (vm.identity !== undefined) return [ok(`ssh offers ${quoted(vm.identity)}, as set in ssh.toml`)];
  const config = await effectiveConfig(vm.name, sshConfigFile);
  const home = userInfo().homedir || homedir();
  const files = (config.get('identityfile') ?? [])
    .filter((file) => file !== 'none')
    .map((file) => file.replace(/^"(.*)"$/, '$1').replace(/^~(?=\/)/, home))
    .filter((file) => existsSync(file));
  if (files.length === 0) return [ok('ssh offers only our key')];
  return [
    warn(
      `ssh may offer ${shortened(files)} after our key`,
      `harmless; to leave them out, put their IdentityFile lines under: Host * !${vm.name} !mint-${vm.name}`,
    ),
  ];
}

/** Undefined if it is unclear which file the user means: `checkInclude` reports that. */
function knownConfigPath({ sshConfigFile, environment }: CheckContext): string | undefined {
  try {
    return userConfigPath(sshConfigFile, environment);
  } catch {
    return undefined;
  }
}

function writeCommand({ sshConfigFile }: CheckContext): string {
  return sshConfigFile === undefined
    ? 'mint-ssh ssh-config'
    : command`mint-ssh ssh-config --file ${sshConfigFile}`;
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function shortened(names: readonly string[]): string {
  const more = names.length > 5 ? `, and ${names.length - 5} more` : '';
  return `${names.slice(0, 5).join(', ')}${more}`;
}
