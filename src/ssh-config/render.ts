import { existsSync } from 'node:fs';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { type Paths, type VmPaths, vmPaths } from '../platform/paths.ts';
import { system } from '../platform/system/system.ts';
import { includedFromMarker } from '../settings/approved-names.ts';
import type { VmSettings } from '../settings/settings.ts';
import { dedicatedLines, sharingLines } from './multiplex.ts';
import { quotePath, quoteProgram } from './quote.ts';
import type { EffectiveConfig } from './ssh-client.ts';

/** The VM of one block. */
export interface Block {
  readonly vm: VmSettings;
  /** The spelling of the name in its tag if it differs in case: ssh compares patterns case-sensitively. */
  readonly spelling?: string | undefined;
  /** Whether the user's own config forwards the agent to it. */
  readonly forwardAgent: boolean;
  /** Whether the login must not share a connection, regardless of `multiplex`. */
  readonly isDedicated?: boolean;
}

export interface RenderOptions {
  readonly paths: Paths;
  /** Absolute path of mint-ssh. */
  readonly program: string;
  /** Lower-case names of the `rareKeywords` that the user's or the system's config sets. */
  readonly used: ReadonlySet<string>;
  /** The `IdentityAgent` of the user's own config, if set: the agent that `-A` forwards. */
  readonly usersAgent?: string | undefined;
  /** The file that has the Include. It is recorded in the text, for later updates of the blocks. */
  readonly includedFrom?: string | undefined;
  /** The platform of the ssh that reads the config; default: this machine's. */
  readonly platform?: NodeJS.Platform | undefined;
  /** Additional options for the proxy, each quoted for a shell and for ssh_config. */
  readonly proxyOptions?: readonly string[] | undefined;
}

type Line = readonly [keyword: string, value: string];

const hardware: Line = ['PKCS11Provider', 'none'];

/**
 * Keywords that some builds of OpenSSH 8.4 or newer do not know, each with the value that turns it off. Every ssh on the
 * machine reads our file, and an ssh that does not know a keyword refuses the whole config. So a block has the keyword
 * only if the user's or the system's config uses it, because then every ssh on the machine knows it.
 */
const rareKeywords: readonly Line[] = [hardware, ['KnownHostsCommand', 'none'], ['GSSAPIKeyExchange', 'no']];

/** Two lines of the blocks that readers ask about. */
const explanation = `# ForwardAgent: the first line says whether to forward, the second one which agent, for \`ssh -A\` too.
# PubkeyAcceptedKeyTypes: every supported OpenSSH knows this older name of PubkeyAcceptedAlgorithms.
`;

/**
 * Renders our ssh_config: a block for each VM, then shared blocks with the values that many VMs have in common. ssh uses
 * the first value that it finds for a keyword.
 *
 * @returns the text of the file
 * @throws MintError `ssh-config-unsafe` for a path that cannot be quoted, `agent-unavailable` for a socket path that is
 *   too long
 */
export function renderSshConfig(blocks: readonly Block[], options: RenderOptions): string {
  const names = new Set(blocks.map(({ vm }) => vm.name));
  const patterns = new Map(blocks.map((block) => [block.vm.name, hostPatterns(block, names)]));
  const own = blocks.map((block) => host(patterns.get(block.vm.name) ?? [], ownLines(block, options)));
  const head = '# Written by `mint-ssh ssh-config`, and overwritten each time: edit ssh.toml instead.\n';
  const from =
    options.includedFrom === undefined
      ? ''
      : `${includedFromMarker}${JSON.stringify(options.includedFrom)}\n`;
  return [head + from + explanation, ...own, ...sharedBlocks(blocks, patterns, options)].join('\n');
}

/**
 * ssh parses a Host line in quadratic time: on every start 15 ms for 1,000 VMs on one line, and 1 ms with this many on
 * each line. Shorter lines would be slower again.
 */
const vmsOfHostLine = 50;

/** Groups the values that several VMs have in common, under few Host lines. */
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

/** `mint-<vm>` is Mint's own alias, with the tag's spelling of the name. It is left out if a VM has that name. */
function hostPatterns({ vm: { name }, spelling }: Block, names: ReadonlySet<string>): string[] {
  const spellings = spelling === undefined ? [name] : [name, spelling];
  return [...spellings, ...(names.has(`mint-${name}`) ? [] : spellings.map((each) => `mint-${each}`))];
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
    // A file for this VM alone: ssh does not update keys that are listed under two names.
    ['GlobalKnownHostsFile', globalKnownHosts(own, options)],
    ...multiplexLines(block, options),
  ];
}

/**
 * OpenSSH does not expand tokens in this value, and libssh does, so a path with `%` would be a different file for each.
 * Such a path is replaced by /dev/null, so that neither reads keys from another file. libssh then knows no host key.
 */
function globalKnownHosts({ libsshKnownHosts }: VmPaths, { platform }: RenderOptions): string {
  return libsshKnownHosts.includes('%') ? '/dev/null' : quotePath(libsshKnownHosts, platform);
}

/** Which agent signs: ours, or with `identity` the user's own. */
function identityLines({ identity }: VmSettings, own: VmPaths, { platform }: RenderOptions): Line[] {
  if (identity === undefined) return [['IdentityAgent', quotePath(own.socket, platform)]];
  // Without a private key file, ssh uses the public one to find the key in the user's own agent.
  const privateFile = identity.replace(/\.pub$/, '');
  return [
    ['IdentityFile', quotePath(existsSync(privateFile) ? privateFile : identity, platform)],
    ['IdentitiesOnly', 'yes'],
  ];
}

function multiplexLines({ vm, isDedicated }: Block, options: RenderOptions): readonly Line[] {
  // OpenSSH for Windows does not support shared connections.
  if (isForWindows(options)) return [];
  if (isDedicated) return dedicatedLines;
  return vm.multiplex === undefined ? [] : sharingLines(vm.name, vm.multiplex, options.paths);
}

/** Whether forwarding is on, and the socket that `-A` forwards, which belongs to this VM alone. */
function forwardLines({ forwardAgent }: Block, own: VmPaths, { platform }: RenderOptions): Line[] {
  return [
    ['ForwardAgent', forwardAgent ? 'yes' : 'no'],
    ['ForwardAgent', quotePath(own.forward, platform)],
  ];
}

/** The default agent of OpenSSH for Windows. */
const windowsAgent = '\\\\.\\pipe\\openssh-ssh-agent';

/**
 * On Windows we have no forward socket, so the path is that of the user's agent. The block names it only if the user
 * set one or forwards it anyway, because ssh prints an error at each login if the pipe does not exist.
 */
function windowsForwardLines({ vm, forwardAgent }: Block, { usersAgent, platform }: RenderOptions): Line[] {
  const named = vm.upstreamAgent ?? (usersAgent === 'none' ? undefined : usersAgent);
  const pipe = named ?? (forwardAgent ? windowsAgent : undefined);
  return [
    ['ForwardAgent', forwardAgent ? 'yes' : 'no'],
    ...(pipe === undefined ? [] : [['ForwardAgent', quotePath(pipe, platform)] as const]),
  ];
}

function isForWindows({ platform = system.name }: RenderOptions): boolean {
  return platform === 'win32';
}

/** Each line protects the login or the host key check against a value in the user's `Host *`. */
function sharedLines(options: RenderOptions): Line[] {
  const lines: Line[] = [
    ['ProxyUseFdpass', 'no'],
    ['PubkeyAuthentication', 'yes'],
    // The name in OpenSSH 8.4. Since 8.5 it is an alias of PubkeyAcceptedAlgorithms.
    ['PubkeyAcceptedKeyTypes', '+ssh-ed25519'],
    ['HostKeyAlgorithms', '^ssh-ed25519'],
    ['StrictHostKeyChecking', 'yes'],
    // A pinned host proves its other keys inside the session, and ssh adds them to the VM's known-hosts file.
    ['UpdateHostKeys', 'yes'],
    ['HashKnownHosts', 'no'],
    ['CheckHostIP', 'no'],
    ['VerifyHostKeyDNS', 'no'],
    ['CanonicalizeHostname', 'no'],
    ...rareKeywords.filter((line) => line !== hardware),
  ];
  return without(lines, options.used);
}

/** For VMs whose key the agent has: ssh tries no key files. */
function keyLines({ used }: RenderOptions): Line[] {
  const lines: Line[] = [
    ['IdentityFile', 'none'],
    ['IdentitiesOnly', 'no'],
    ['AddKeysToAgent', 'no'],
    hardware,
  ];
  return without(lines, used);
}

/** Leaves out the rare keywords that neither config uses. */
function without(lines: readonly Line[], used: ReadonlySet<string>): Line[] {
  return lines.filter((line) => !rareKeywords.includes(line) || used.has(line[0].toLowerCase()));
}

/**
 * @param configs the output of `ssh -G` for some hosts, with the user's and the system's config
 * @returns the rare keywords, in lower case, that one of them sets to a value that does not turn them off
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

/** Not needed for the default directory, which the proxy finds by itself; ssh uses the passwd entry. */
function isDefaultForSsh(paths: Paths): boolean {
  return paths.dir === join(userInfo().homedir, '.config', 'mint');
}

function host(patterns: readonly string[], lines: readonly Line[]): string {
  return [`Host ${patterns.join(' ')}`, ...lines.map((line) => `    ${line.join(' ')}`), ''].join('\n');
}
