/** Whether `ssh VM` does what our block says, and what it may offer beside our key. */

import { accessSync, constants, existsSync } from 'node:fs';
import { homedir, userInfo } from 'node:os';
import { command } from '../cli/shell-command.ts';
import { quoted, readPrivateFile } from '../platform/files.ts';
import { inspectInclude } from '../ssh-config/include.ts';
import { quoteInclude } from '../ssh-config/quote.ts';
import { effectiveConfig } from '../ssh-config/ssh-client.ts';
import { readUserConfig, userConfigPath } from '../ssh-config/user-config.ts';
import { findOverridden } from '../ssh-config/verify.ts';
import type { Case, VmCase } from './case.ts';
import { type Finding, fail, ok, warn } from './check.ts';

const maxBytes = 64_000_000;

/** The Include, and a block for every VM of ssh.toml and of the caller's own. @throws MintError of `readUserConfig` */
export function checkInclude(about: Case): readonly Finding[] {
  const { paths, vms, discovered } = about;
  const write = writeCommand(about);
  const path = userConfigPath(about.sshConfigFile, about.environment);
  const blocks = readPrivateFile(paths.sshConfig, { maxBytes })?.toString('latin1');
  if (blocks === undefined) {
    return [warn('no blocks are written: only `mint-ssh ssh VM` reaches a VM, not `ssh VM`', write)];
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
        `the Include is your own, in line ${byHand.line} of ${quoted(path)}: lines above it may override the blocks`,
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

/** What `ssh -G` says of the VM, read through the user's real config. @throws MintError where ssh refuses it */
export async function checkBlock(about: VmCase): Promise<readonly Finding[]> {
  const { paths, vm, sshConfigFile } = about;
  const path = knownConfigPath(about);
  if (path === undefined || !existsSync(paths.sshConfig)) return [];
  const wanted = await effectiveConfig(vm.name, paths.sshConfig);
  const command = wanted.get('proxycommand')?.[0];
  if (command === undefined) return [];
  const program = /^"([^"]+)"/.exec(command)?.[1]?.replaceAll('%%', '%');
  if (program !== undefined && !isProgram(program)) {
    return [fail(`the block runs ${quoted(program)}, which is not there`, writeCommand(about))];
  }
  const overridden = await findOverridden([vm.name], paths.sshConfig, readUserConfig(path), sshConfigFile);
  if (overridden.length === 0) return [ok(`\`ssh ${vm.name}\` does what the block says`)];
  if (overridden.some(({ keyword }) => keyword === 'proxycommand')) {
    const found = overridden.find(({ keyword }) => keyword === 'proxycommand')?.found;
    return [
      fail(`\`ssh ${vm.name}\` does not run mint-ssh, but: ProxyCommand ${found}`, writeCommand(about)),
    ];
  }
  return overridden.map(({ keyword, wanted: ours, found, line }) => {
    const where = line === undefined ? '' : `, perhaps by line ${line} of ${quoted(path)}`;
    return fail(
      `${keyword} is ${found} and not ${ours}${where}`,
      'move that line below the Include of mint-ssh',
    );
  });
}

/** The user's key files that ssh tries where ours is refused: each one counts against MaxAuthTries. */
export async function checkOfferedKeys(about: VmCase): Promise<readonly Finding[]> {
  const { vm, sshConfigFile } = about;
  if (vm.identity !== undefined) return [ok(`${quoted(vm.identity)} is offered, as ssh.toml says`)];
  const config = await effectiveConfig(vm.name, sshConfigFile);
  const home = userInfo().homedir || homedir();
  const files = (config.get('identityfile') ?? [])
    .filter((file) => file !== 'none')
    .map((file) => file.replace(/^"(.*)"$/, '$1').replace(/^~(?=\/)/, home))
    .filter((file) => existsSync(file));
  if (files.length === 0) return [ok('ssh offers no key but ours')];
  return [
    warn(
      `ssh may offer ${shortened(files)} after our key`,
      `harmless; to leave them out, put their IdentityFile lines under: Host * !${vm.name} !mint-${vm.name}`,
    ),
  ];
}

/** Undefined where it is not clear which file is meant: `checkInclude` has said that. */
function knownConfigPath({ sshConfigFile, environment }: Case): string | undefined {
  try {
    return userConfigPath(sshConfigFile, environment);
  } catch {
    return undefined;
  }
}

function writeCommand({ sshConfigFile }: Case): string {
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
