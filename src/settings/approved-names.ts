/** Reads the generated ssh_config: which VMs have a block in it. */
import { statSync } from 'node:fs';
import { readPrivateFile } from '../platform/files.ts';
import type { Paths } from '../platform/paths.ts';
import type { UsualLogin } from './usual-login.ts';

/** Older versions wrote this above the `Host` line of a VM whose name the user approved; see ssh-config/approvals.ts. */
const approvedMarker = '# approved by name';

/** Starts the comment that names the file with our Include, as a JSON string. */
export const includedFromMarker = '# The Include is in ';

export interface WrittenNames {
  readonly all: ReadonlySet<string>;
  /** Names with the comment of an older version. Use `approvedNames` to read the approved names. */
  readonly approved: ReadonlySet<string>;
  /** From name to its spelling in the tag, for names that differ from it in case. */
  readonly spellings: ReadonlyMap<string, string>;
  /** The user and port in each block. */
  readonly logins: ReadonlyMap<string, UsualLogin>;
  /** The file with our Include; undefined if an older version wrote the blocks. */
  readonly includedFrom: string | undefined;
}

const maxBytes = 64_000_000;
const loginLine = /^ {4}(User|Port) (\S+)$/;
const host = /^Host ([a-z0-9][a-z0-9._-]{0,62})(?: |$)/;

/**
 * @returns the VMs that have a block; none if the file does not exist
 * @throws MintError `unsafe-permissions`, `io-failed`
 */
export function writtenNames(paths: Paths): WrittenNames {
  const stamp = stampOf(paths.sshConfig);
  if (last?.stamp !== stamp) last = { stamp, names: readNames(paths) };
  return last.names;
}

/** Cached, because the agent reads it for every connection, and parsing 1,000 VMs takes milliseconds. */
let last: { readonly stamp: string; readonly names: WrittenNames } | undefined;

function stampOf(path: string): string {
  const found = statSync(path, { throwIfNoEntry: false });
  if (found === undefined) return path;
  const { ino, mtimeMs, ctimeMs, size } = found;
  return [path, ino, mtimeMs, ctimeMs, size].join(' ');
}

function readNames(paths: Paths): WrittenNames {
  const bytes = readPrivateFile(paths.sshConfig, { maxBytes });
  const lines = bytes?.toString('latin1').split('\n') ?? [];
  const all = new Set<string>();
  const approved = new Set<string>();
  const spellings = new Map<string, string>();
  const logins = new Map<string, { user?: string; port?: number }>();
  let login: { user?: string; port?: number } = {};
  for (const [at, line] of lines.entries()) {
    const name = host.exec(line)?.[1];
    if (name === undefined) {
      const [, keyword, value = ''] = loginLine.exec(line) ?? [];
      if (keyword === 'User') login.user = value;
      if (keyword === 'Port') login.port = Number(value);
      continue;
    }
    login = {};
    const second = line.split(' ')[2];
    if (second !== undefined && second !== name && second.toLowerCase() === name) spellings.set(name, second);
    // The shared blocks repeat the name, without a user.
    if (!all.has(name)) logins.set(name, login);
    all.add(name);
    if (lines[at - 1] === approvedMarker) approved.add(name);
  }
  return { all, approved, spellings, logins, includedFrom: includedFrom(lines[1]) };
}

function includedFrom(line: string | undefined): string | undefined {
  if (!line?.startsWith(includedFromMarker)) return undefined;
  try {
    const path: unknown = JSON.parse(line.slice(includedFromMarker.length));
    return typeof path === 'string' ? path : undefined;
  } catch {
    return undefined;
  }
}
