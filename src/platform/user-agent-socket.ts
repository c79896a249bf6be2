/** The socket of the user's own ssh-agent: where it is, and whether a VM may be given access to it with `ssh -A`. */
import { readFileSync, realpathSync, statSync } from 'node:fs';
import { dirname, isAbsolute, resolve, sep } from 'node:path';

/** What the proxy reports if the user's own ssh config says `IdentityAgent none`. */
export const noUpstream = 'none';

/** The longest path that Linux and macOS both connect to, in bytes. */
const socketPathBytes = 103;

/**
 * Follows links first (1Password, tmux and Debian make them) and checks what they lead to.
 * @param path of an ssh-agent's socket
 * @returns the path to connect to; undefined if it is not a socket of the user, or one in our own run directory
 */
export function upstreamSocket(path: string, runDirectory: string): string | undefined {
  if (!isAbsolute(path)) return undefined;
  try {
    const real = realpathSync(path);
    const found = statSync(real);
    if (!found.isSocket() || found.uid !== (process.getuid?.() ?? found.uid)) return undefined;
    if (isBelow(real, runDirectory)) return undefined;
    return Buffer.byteLength(real) <= socketPathBytes ? real : path;
  } catch {
    return undefined;
  }
}

/** @returns whether a path, which need not exist, is one of our own sockets */
export function isOurs(path: string, runDirectory: string): boolean {
  if (resolve(path).startsWith(runDirectory + sep)) return true;
  try {
    return isBelow(realpathSync(path), runDirectory);
  } catch {
    return false;
  }
}

/** Compares inodes, so that other names and mounts of the directory count too. */
function isBelow(real: string, directory: string): boolean {
  const own = statSync(directory);
  for (let at = dirname(real); ; at = dirname(at)) {
    const found = statSync(at);
    if (found.ino === own.ino && found.dev === own.dev) return true;
    if (at === dirname(at)) return false;
  }
}

/**
 * Finds the socket of the user's own ssh-agent by `SSH_AUTH_SOCK`. Up to OpenSSH 10.4 the proxy has the variable of
 * the user's shell. From 10.5 on ssh sets it to the IdentityAgent, our own socket, before it starts the proxy; on
 * Linux the environment with which ssh itself was started is still in /proc.
 * @param parent the process id of ssh
 * @returns the path; undefined if there is no agent or it cannot be found
 */
export function userAgentSocket(
  runDirectory: string,
  environment: NodeJS.ProcessEnv = process.env,
  parent: number = process.ppid,
): string | undefined {
  const own = environment['SSH_AUTH_SOCK'];
  if (!own || !isOurs(own, runDirectory)) return own || undefined;
  const before = initialEnvironment(parent)['SSH_AUTH_SOCK'];
  return before && !isOurs(before, runDirectory) ? before : undefined;
}

/** The environment with which a process was started; empty if it cannot be read. */
function initialEnvironment(pid: number): Readonly<Record<string, string>> {
  try {
    const lines = readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0');
    return Object.fromEntries(
      lines.map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]),
    );
  } catch {
    return {};
  }
}
