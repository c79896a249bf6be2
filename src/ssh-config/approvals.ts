/**
 * The names that the user approved, with `mint-ssh ssh-config NAME` or a yes to its question. Approval is needed before
 * a name finds an instance by its `Name` tag, and before a block takes a name that another host on this machine has.
 *
 * `approvals.json`: {"version": 1, "names": ["web", …]}. Older versions kept a comment above the block in the generated
 * ssh_config. Those comments are read until the first approval is written.
 */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { MintError } from '../errors.ts';
import { quoted, readPrivateFile, writeAtomic } from '../platform/files.ts';
import type { Paths } from '../platform/paths.ts';
import { writtenNames } from '../settings/approved-names.ts';
import { vmName } from '../settings/vm-name.ts';

const version = 1;
const maxBytes = 4_000_000;

function approvalsPath({ dir }: Pick<Paths, 'dir'>): string {
  return join(dir, 'approvals.json');
}

/**
 * @returns the names, in lower case
 * @throws MintError `unsafe-permissions` if another user could have written the file, `io-failed` if it is damaged
 */
export function approvedNames(paths: Paths): ReadonlySet<string> {
  const path = approvalsPath(paths);
  const bytes = readPrivateFile(path, { maxBytes });
  return bytes === undefined ? writtenNames(paths).approved : parse(bytes.toString('utf8'), path);
}

/**
 * Replaces the file if the names differ from its content.
 *
 * @param names undefined removes the file
 * @throws MintError `io-failed`
 */
export function recordApprovals(paths: Paths, names: ReadonlySet<string> | undefined): void {
  const path = approvalsPath(paths);
  if (names === undefined) {
    rmSync(path, { force: true });
    return;
  }
  const text = `${JSON.stringify({ version, names: [...names].sort() }, undefined, 2)}\n`;
  const before = readPrivateFile(path, { maxBytes });
  if (before?.toString('utf8') !== text && (before !== undefined || names.size > 0))
    writeAtomic(path, text, { mode: 0o600 });
}

function parse(text: string, path: string): ReadonlySet<string> {
  try {
    const { version: found, names } = JSON.parse(text) as { version?: unknown; names?: unknown };
    if (found !== version || !Array.isArray(names)) throw new TypeError('not a list of names');
    return new Set(names.map((name) => vmName(String(name))));
  } catch (cause) {
    throw new MintError('io-failed', `${quoted(path)} is damaged, or from a newer mint-ssh`, {
      cause,
      hint: 'remove it, then approve the names again: mint-ssh ssh-config NAME',
    });
  }
}
