/** Which VMs have a block in our ssh_config. */
import { statSync } from 'node:fs';
import { readPrivateFile } from '../platform/files.ts';
import type { Paths } from '../platform/paths.ts';
import type { UsualLogin } from './usual-login.ts';

/** Older versions wrote it above the `Host` line of a VM that the user approved by name (ssh-config/approvals.ts). */
const approvedMarker = '# approved by name';

/** Begins the line that says which file brings ours in, as a JSON string. */
export const includedFromMarker = '# The Include is in ';

export interface WrittenNames {
  readonly all: ReadonlySet<string>;
  /** Those with the comment of an older version; read them by `approvedNames`. */
  readonly approved: ReadonlySet<string>;
  /** The names as their tags spell them, where that differs. */
  readonly spellings: ReadonlyMap<string, string>;
  /** User and port as the blocks have them. */
  readonly logins: ReadonlyMap<string, UsualLogin>;
  /** The file with the Include; undefined where an older version wrote ours. */
  readonly includedFrom: string | undefined;
}

const maxBytes = 64_000_000;
const loginLine = /^ {4}(User|Port) (\S+)$/;
const host = /^Host ([a-z0-9][a-z0-9._-]{0,62})(?: |$)/;

/** Empty where there is no file of ours. @throws MintError `unsafe-permissions`, `io-failed` */
export function writtenNames(paths: Paths): WrittenNames {
  const stamp = stampOf(paths.sshConfig);
  if (last?.stamp !== stamp) last = { stamp, names: readNames(paths) };
  return last.names;
}

/** The agent looks for every connection, and a file of a thousand VMs takes milliseconds. */
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
    // The shared blocks name it again, without a user.
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
