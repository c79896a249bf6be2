/** Which socket may stand behind a forwarded one: an agent of the user's, and never one of ours. */
import { realpathSync, statSync } from 'node:fs';
import { dirname, isAbsolute, resolve, sep } from 'node:path';

/** What the proxy says where the user's own ssh config says `IdentityAgent none`. */
export const noUpstream = 'none';

/** The longest path that Linux and macOS both connect to, in bytes. */
const socketPathBytes = 103;

/**
 * The path to connect to; undefined where `path` does not lead to a socket of the user's outside our run
 * directory. Links are followed first (1Password, tmux and Debian's own make them), and what they lead to is
 * judged.
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

/** Whether a path, there or not there yet, is one of our own sockets. */
export function isOurs(path: string, runDirectory: string): boolean {
  if (resolve(path).startsWith(runDirectory + sep)) return true;
  try {
    return isBelow(realpathSync(path), runDirectory);
  } catch {
    return false;
  }
}

/** By inode: whatever the directory is called, and wherever it is mounted. */
function isBelow(real: string, directory: string): boolean {
  const own = statSync(directory);
  for (let at = dirname(real); ; at = dirname(at)) {
    const found = statSync(at);
    if (found.ino === own.ino && found.dev === own.dev) return true;
    if (at === dirname(at)) return false;
  }
}
