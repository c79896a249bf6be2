/** Checks that other users can neither change the files and directories nor read secrets in them. It creates nothing. */

import { lstatSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { command } from '../cli/shell-command.ts';
import { auditProblem } from '../platform/audit.ts';
import { ensureClosedDirectory, ensurePrivateDirectory, quoted, readPrivateFile } from '../platform/files.ts';
import type { Paths } from '../platform/paths.ts';
import { system } from '../platform/system/system.ts';
import { type Finding, fail, failed, ok } from './check.ts';

const maxBytes = 64 * 1024 * 1024;

/** @returns a finding for each problem, else one for all */
export function checkPermissions(paths: Paths): readonly Finding[] {
  if (!isThere(paths.dir))
    return [ok(`${quoted(paths.dir)} does not exist yet: mint-ssh creates it when needed`)];
  const wrong = [
    ...[paths.dir, paths.hosts, paths.cache].flatMap((path) => attempt(path, ensurePrivateDirectory)),
    ...[paths.run, paths.agentSockets, join(paths.dir, 'keys')].flatMap((path) =>
      attempt(path, ensureClosedDirectory),
    ),
    ...ourFiles(paths).flatMap((path) => attempt(path, () => readPrivateFile(path, { maxBytes }))),
    ...auditFindings(paths),
    ...(system.hasPipes ? [] : [paths.control, paths.forward]).flatMap(socketOfOthers),
  ];
  return wrong.length > 0 ? wrong : [ok(`only you can change ${quoted(paths.dir)} and its content`)];
}

function ourFiles({ dir, hosts, knownHosts, sshToml, configToml, sshConfig, agentLog }: Paths): string[] {
  const single = [knownHosts, sshToml, configToml, sshConfig, agentLog];
  return [...single, ...filesIn(hosts), ...filesIn(join(dir, 'keys'))];
}

function filesIn(directory: string): string[] {
  try {
    const entries = readdirSync(directory, { withFileTypes: true });
    return entries.filter((entry) => !entry.isDirectory()).map(({ name }) => join(directory, name));
  } catch {
    // The directory does not exist or cannot be read: its own check reports that.
    return [];
  }
}

/** Reports why logins cannot be recorded. */
function auditFindings(paths: Paths): readonly Finding[] {
  const problem = auditProblem(paths);
  return problem === undefined ? [] : [failed(problem)];
}

/** No finding if the directory does not exist: the check must not create it. */
function attempt(path: string, look: (path: string) => unknown): readonly Finding[] {
  if (!isThere(path)) return [];
  try {
    look(path);
    return [];
  } catch (error) {
    return [failed(error)];
  }
}

function socketOfOthers(path: string): readonly Finding[] {
  const found = lstatSync(path, { throwIfNoEntry: false });
  const user = process.getuid?.();
  if (found === undefined || user === undefined) return [];
  if ((found.isSocket() || found.isFile()) && found.uid === user) return [];
  return [fail(`${quoted(path)} is not a socket of yours (unsafe-permissions)`, command`rm ${path}`)];
}

function isThere(path: string): boolean {
  try {
    return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
  } catch {
    // If a directory above it cannot be entered, the check of that directory reports it.
    return false;
  }
}
