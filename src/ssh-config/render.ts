import { existsSync } from 'node:fs';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { type Paths, type VmPaths, vmPaths } from '../platform/paths.ts';
import { includedFromMarker } from '../settings/approved-names.ts';
import type { VmSettings } from '../settings/settings.ts';
import { aloneLines, sharingLines } from './multiplex.ts';
import { quotePath, quoteProgram } from './quote.ts';
import type { EffectiveConfig } from './ssh-client.ts';

/** A VM as it gets its block. */
export interface Block {
  readonly vm: VmSettings;
  /** The name as its tag spells it, where that differs in case: ssh compares patterns with case. */
  readonly spelling?: string | undefined;
  /** Whether the user's own config forwards the agent to it. */
  readonly forwardAgent: boolean;
  /** A connection of its own, which no other login shares, whatever is set. */
  readonly isAlone?: boolean;
}

export interface RenderOptions {
  readonly paths: Paths;
  /** Absolute path of mint-ssh. */
  readonly program: string;
  /** Lower-case names of the `rareKeywords` that the user's or the system's config sets. */
  readonly used: ReadonlySet<string>;
  /** The `IdentityAgent` of the user's own config, which is what `-A` forwards then. */
  readonly usersAgent?: string | undefined;
  /** The file that has the Include, for whoever writes the blocks anew. */
  readonly includedFrom?: string | undefined;
  /** Whose ssh it is for; this machine's unless told. */
  readonly platform?: NodeJS.Platform | undefined;
  /** More options for the proxy, each one already fit for a shell and for ssh_config. */
  readonly proxyOptions?: readonly string[] | undefined;
}

type Line = readonly [keyword: string, value: string];

const hardware: Line = ['PKCS11Provider', 'none'];

/**
 * Keywords that some builds of OpenSSH 8.4 or newer do not know, each with the value that turns it off. Our file is
 * read by every ssh on the machine, and an ssh that does not know a keyword refuses the whole config. So a block has
 * the keyword only if the user's or the system's config uses it: then every ssh there knows it already.
 */
const rareKeywords: readonly Line[] = [hardware, ['KnownHostsCommand', 'none'], ['GSSAPIKeyExchange', 'no']];

/**
 * The text of our ssh_config: a block for each VM, then once what all of them share. Within a block, and
 * from file to file, ssh takes the first value it meets.
 *
 * Throws `ssh-config-unsafe` for a path that cannot be written, `agent-unavailable` for a socket's path that
 * is too long.
 */
export function renderSshConfig(blocks: readonly Block[], options: RenderOptions): string {
  const names = new Set(blocks.map(({ vm }) => vm.name));
  const patterns = new Map(blocks.map((block) => [block.vm.name, hostPatterns(block, names)]));
  const own = blocks.map((block) => host(patterns.get(block.vm.name) ?? [], ownLines(block, options)));
  const head = '# Written by `mint-ssh ssh-config`, and written anew each time: edit ssh.toml instead.\n';
  const from =
    options.includedFrom === undefined
      ? ''
      : `${includedFromMarker}${JSON.stringify(options.includedFrom)}\n`;
  return [head + from, ...own, ...sharedBlocks(blocks, patterns, options)].join('\n');
}

/**
 * ssh takes a Host line apart in a time with the square of its length: on every start 15 ms for 1,000 VMs on one line,
 * and 1 ms where each line has this many. More lines than that cost time as well.
 */
const vmsOfHostLine = 50;

/** What is the same for many, under as few Host lines as does. */
function sharedBlocks(
  blocks: readonly Block[],
  patterns: ReadonlyMap<string, readonly string[]>,
  options: RenderOptions,
): string[] {
  const hosts = (some: readonly Block[], lines: readonly Line[]) =>
    groups(some, vmsOfHostLine).map((group) =>
      host(
        group.flatMap(({ vm }) => patterns.get(vm.name) ?? []),
        lines,
      ),
    );
  const served = blocks.filter(({ vm }) => vm.identity === undefined);
  if (served.length === blocks.length) return hosts(blocks, [...keyLines(options), ...sharedLines(options)]);
  return [...hosts(served, keyLines(options)), ...hosts(blocks, sharedLines(options))];
}

function groups<T>(all: readonly T[], size: number): T[][] {
  return Array.from({ length: Math.ceil(all.length / size) }, (_, index) =>
    all.slice(index * size, (index + 1) * size),
  );
}

/** `mint-<vm>` is Mint's own alias; it gives way to a VM of that name. */
function hostPatterns({ vm: { name }, spelling }: Block, names: ReadonlySet<string>): string[] {
  const alias = `mint-${name}`;
  return [name, ...(spelling === undefined ? [] : [spelling]), ...(names.has(alias) ? [] : [alias])];
}

function ownLines(block: Block, options: RenderOptions): Line[] {
  const { vm } = block;
  const own = vmPaths(options.paths, vm.name);
  return [
    ['HostName', vm.name],
    ['HostKeyAlias', vm.name],
    ['User', vm.user],
    ['Port', String(vm.port)],
    ['ProxyCommand', proxyCommand(vm.name, options)],
    ...identityLines(vm, own, options),
    ...(isForWindows(options) ? windowsForwardLines(block, options) : forwardLines(block, own, options)),
    ['PreferredAuthentications', vm.preferredAuthentications],
    ['UserKnownHostsFile', quotePath(own.knownHosts, options.platform)],
    // Not the system's, and in a file of its own: ssh updates no key that the user's file has under two names.
    ['GlobalKnownHostsFile', globalKnownHosts(own, options)],
    ...multiplexLines(block, options),
  ];
}

/**
 * OpenSSH reads this value as it is, and libssh expands tokens in it: no form of a path with `%` is the same file to both.
 * Such a path is left out, so that neither reads keys from a file that is not Mint's. libssh then knows no host key.
 */
function globalKnownHosts({ libsshKnownHosts }: VmPaths, { platform }: RenderOptions): string {
  return libsshKnownHosts.includes('%') ? '/dev/null' : quotePath(libsshKnownHosts, platform);
}

/** Who signs: the agent, or with `identity` whatever the user has for that key. */
function identityLines({ identity }: VmSettings, own: VmPaths, { platform }: RenderOptions): Line[] {
  if (identity === undefined) return [['IdentityAgent', quotePath(own.socket, platform)]];
  // Without the private half ssh takes the public one, to find the key in the user's own agent.
  const privateFile = identity.replace(/\.pub$/, '');
  return [
    ['IdentityFile', quotePath(existsSync(privateFile) ? privateFile : identity, platform)],
    ['IdentitiesOnly', 'yes'],
  ];
}

function multiplexLines({ vm, isAlone }: Block, options: RenderOptions): readonly Line[] {
  // OpenSSH for Windows has no connections to share.
  if (isForWindows(options)) return [];
  if (isAlone) return aloneLines;
  return vm.multiplex === undefined ? [] : sharingLines(vm.name, vm.multiplex, options.paths);
}

/** The first leaves forwarding off, or on; the second is what `-A` forwards: a socket of this VM alone. */
function forwardLines({ forwardAgent }: Block, own: VmPaths, { platform }: RenderOptions): Line[] {
  return [
    ['ForwardAgent', forwardAgent ? 'yes' : 'no'],
    ['ForwardAgent', quotePath(own.forward, platform)],
  ];
}

/** What OpenSSH for Windows takes for the agent where nothing names one. */
const windowsAgent = '\\\\.\\pipe\\openssh-ssh-agent';

/**
 * No socket of ours stands between there, so the path is the one of the user's agent; it is named where they named one
 * or forward it anyway, because ssh complains at each login about a pipe that is not there.
 */
function windowsForwardLines({ vm, forwardAgent }: Block, { usersAgent, platform }: RenderOptions): Line[] {
  const named = vm.upstreamAgent ?? (usersAgent === 'none' ? undefined : usersAgent);
  const pipe = named ?? (forwardAgent ? windowsAgent : undefined);
  return [
    ['ForwardAgent', forwardAgent ? 'yes' : 'no'],
    ...(pipe === undefined ? [] : [['ForwardAgent', quotePath(pipe, platform)] as const]),
  ];
}

function isForWindows({ platform = process.platform }: RenderOptions): boolean {
  return platform === 'win32';
}

/** Each line is here because a `Host *` of some user breaks the login or the trust without it. */
function sharedLines(options: RenderOptions): Line[] {
  const lines: Line[] = [
    ['ProxyUseFdpass', 'no'],
    ['PubkeyAuthentication', 'yes'],
    // The name that OpenSSH 8.4 knows; since 8.5 it is an alias of PubkeyAcceptedAlgorithms.
    ['PubkeyAcceptedKeyTypes', '+ssh-ed25519'],
    ['HostKeyAlgorithms', '^ssh-ed25519'],
    ['StrictHostKeyChecking', 'yes'],
    // The pinned host proves its other keys inside the session, and ssh adds them to the VM's known-hosts file.
    ['UpdateHostKeys', 'yes'],
    ['HashKnownHosts', 'no'],
    ['CheckHostIP', 'no'],
    ['VerifyHostKeyDNS', 'no'],
    ['CanonicalizeHostname', 'no'],
    ...rareKeywords.filter((line) => line !== hardware),
  ];
  return without(lines, options.used);
}

/** For the VMs to which the agent has the key: no other one is tried there. */
function keyLines({ used }: RenderOptions): Line[] {
  const lines: Line[] = [
    ['IdentityFile', 'none'],
    ['IdentitiesOnly', 'no'],
    ['AddKeysToAgent', 'no'],
    hardware,
  ];
  return without(lines, used);
}

/** Leaves out the rare keywords that nothing uses. */
function without(lines: readonly Line[], used: ReadonlySet<string>): Line[] {
  return lines.filter((line) => !rareKeywords.includes(line) || used.has(line[0].toLowerCase()));
}

/**
 * @param configs what `ssh -G` says for some hosts under the user's and the system's config
 * @returns the rare keywords that one of them sets to anything but the value that turns it off, in lower case
 */
export function usedKeywords(configs: Iterable<EffectiveConfig>): ReadonlySet<string> {
  const all = [...configs];
  return new Set(
    rareKeywords
      .map(([keyword, off]) => [keyword.toLowerCase(), off] as const)
      .filter(([keyword, off]) => all.some((config) => (config.get(keyword)?.[0] ?? off) !== off))
      .map(([keyword]) => keyword),
  );
}

function proxyCommand(name: string, options: RenderOptions): string {
  const { paths, program, usersAgent, platform, proxyOptions = [] } = options;
  const directory = isDefaultForSsh(paths) ? [] : ['--config-dir', quotePath(paths.dir, platform)];
  const isTold = usersAgent !== undefined && !isForWindows(options);
  const upstream = isTold ? ['--upstream-agent', quoteAgent(usersAgent)] : [];
  const words = [...directory, ...upstream, ...proxyOptions, name, '%p', '%r'];
  return [quoteProgram(program, platform), 'proxy', ...words].join(' ');
}

function quoteAgent(path: string): string {
  return path === 'none' ? path : quotePath(path);
}

/** ssh goes by the passwd entry; what it starts finds the default directory without being told. */
function isDefaultForSsh(paths: Paths): boolean {
  return paths.dir === join(userInfo().homedir, '.config', 'mint');
}

function host(patterns: readonly string[], lines: readonly Line[]): string {
  return [`Host ${patterns.join(' ')}`, ...lines.map((line) => `    ${line.join(' ')}`), ''].join('\n');
}
