import { existsSync, readFileSync } from 'node:fs';
import { homedir, userInfo } from 'node:os';
import { join, resolve } from 'node:path';
import { socketPlaces } from './sockets.ts';
import { system } from './system/system.ts';

/** The files and directories of mint-ssh, as absolute paths. */
export interface Paths {
  /** `~/.config/mint`, shared with Mint. */
  readonly dir: string;
  readonly knownHosts: string;
  /** A directory: our record and the derived known-hosts file of each VM. */
  readonly hosts: string;
  readonly sshToml: string;
  readonly configToml: string;
  readonly sshConfig: string;
  /** A directory that other users cannot enter: sockets, lock, log. */
  readonly run: string;
  readonly control: string;
  /** A directory: one socket for each VM. */
  readonly agentSockets: string;
  readonly forward: string;
  /** A directory: one socket for each VM with an `upstream_agent` of its own. */
  readonly forwardSockets: string;
  /** A directory: the sockets of shared connections (`multiplex`). */
  readonly sharedSockets: string;
  readonly agentLog: string;
  /** A directory that other users cannot enter: managed keys, unless another store is set. */
  readonly keys: string;
  /** Which jobs are open; see open-jobs.ts. */
  readonly jobs: string;
  readonly cache: string;
  readonly audit: string;
}

export interface VmPaths {
  readonly record: string;
  readonly knownHosts: string;
  /** The pinned keys under the name that libssh looks for. */
  readonly libsshKnownHosts: string;
  readonly lastAddress: string;
  readonly socket: string;
  /** The socket that `-A` forwards if the VM has its own `upstream_agent`. */
  readonly forward: string;
}

/**
 * The directory is `--config-dir`, else `$MINT_CONFIG_DIR`, else `~/.config/mint`. The run directory is
 * `runDir`, else `run_dir` of `ssh.toml`, else `run` in the directory.
 */
export function resolvePaths(
  options: { readonly configDir?: string | undefined; readonly runDir?: string | undefined },
  environment: NodeJS.ProcessEnv = process.env,
): Paths {
  const dir = resolve(options.configDir || environment['MINT_CONFIG_DIR'] || defaultConfigDir(environment));
  const sshToml = join(dir, 'ssh.toml');
  const run = resolve(
    options.runDir || expandHome(configuredRunDir(sshToml), environment) || join(dir, 'run'),
  );
  const sockets = socketPlaces(run);
  return {
    dir,
    knownHosts: join(dir, 'known_hosts'),
    hosts: join(dir, 'hosts'),
    sshToml,
    configToml: join(dir, 'config.toml'),
    sshConfig: join(dir, 'ssh_config'),
    run,
    // Getters, because on Windows the first use of a name creates the secret behind it.
    get control() {
      return sockets.control;
    },
    agentSockets: join(run, 'agent'),
    get forward() {
      return sockets.forward;
    },
    forwardSockets: join(run, 'forward'),
    sharedSockets: join(run, 'mux'),
    agentLog: join(run, 'agent.log'),
    keys: join(dir, 'keys'),
    jobs: join(dir, 'jobs.json'),
    cache: join(dir, 'cache'),
    audit: join(dir, 'audit.log'),
  };
}

/** @returns the path with a leading `~/` replaced by the home directory */
export function expandHome(path: string, environment?: NodeJS.ProcessEnv): string;
export function expandHome(path: string | undefined, environment?: NodeJS.ProcessEnv): string | undefined;
export function expandHome(path: string | undefined, environment = process.env): string | undefined {
  return path?.startsWith('~/') ? join(homeDirectory(environment), path.slice(2)) : path;
}

function defaultConfigDir(environment: NodeJS.ProcessEnv): string {
  return join(homeDirectory(environment), '.config', 'mint');
}

/**
 * `$HOME`, as other programs use it, else the home directory of the passwd entry. On Windows the profile.
 *
 * fish under LC_ALL=C exports a HOME with non-ASCII bytes in a second UTF-8 encoding, and ssh runs ProxyCommand
 * through that shell. Such a HOME names no directory, and the passwd entry is used.
 *
 * @returns an absolute path
 */
export function homeDirectory(environment: NodeJS.ProcessEnv = process.env): string {
  const named = environment[system.homeVariable];
  const isUsable = named && (/^[\x20-\x7e]*$/.test(named) || existsSync(named));
  return (isUsable && named) || userInfo().homedir || homedir();
}

/**
 * A VM's own files. `vm` is a name that `vmName` gave. No two names share a file: each kind has its own
 * ending. Reading `socket` or `forward` throws `agent-unavailable` when the run directory is too deep for one.
 */
export function vmPaths(paths: Paths, vm: string): VmPaths {
  return {
    record: join(paths.hosts, `${vm}.json`),
    knownHosts: join(paths.hosts, `${vm}.known_hosts`),
    libsshKnownHosts: join(paths.hosts, `${vm}.libssh_known_hosts`),
    lastAddress: join(paths.cache, `${vm}.address`),
    // Getters, because a path that is too long for a socket is an error only if it is used.
    get socket() {
      return socketPlaces(paths.run).vm(vm);
    },
    get forward() {
      return socketPlaces(paths.run).forwardOf(vm);
    },
  };
}

/**
 * Reads `run_dir` of ssh.toml for every part of the program. The proxy must not load a TOML parser, so only one form
 * counts: a plain string on a line of its own above the first table. The settings refuse every other form.
 *
 * @param sshToml the path of the file
 * @returns undefined if the file is missing, unreadable or has no `run_dir`
 */
export function configuredRunDir(sshToml: string): string | undefined {
  let text: string;
  try {
    text = readFileSync(sshToml, 'utf8');
  } catch {
    // The agent reports it when it loads the settings.
    return undefined;
  }
  return findRunDir(text);
}

/** @returns `run_dir` as it is written in the text of ssh.toml, which may begin with `~/` */
export function findRunDir(text: string): string | undefined {
  const top = text.split(/^[ \t]*\[/m, 1)[0] ?? '';
  const found = /^\uFEFF?[ \t]*run_dir[ \t]*=[ \t]*(?:"([^"\\\r\n]+)"|'([^'\r\n]+)')/m.exec(top);
  return found?.[1] ?? found?.[2];
}
