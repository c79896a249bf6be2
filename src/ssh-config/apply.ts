import { closeSync, existsSync, openSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import {
  ensureClosedDirectory,
  ensurePrivateDirectory,
  ioFailed,
  readPrivateFile,
  writeAtomic,
} from '../platform/files.ts';
import { ensureForwardSocket, ensureForwardSockets } from '../platform/forward-socket.ts';
import { withLock } from '../platform/lock.ts';
import { type Paths, vmPaths } from '../platform/paths.ts';
import { recordApprovals } from './approvals.ts';
import { unifiedDiff } from './diff.ts';
import { addInclude, inspectInclude, removeInclude } from './include.ts';
import { quoteInclude } from './quote.ts';
import { checkWritable, isReplaceable, type UserConfig, writeUserConfig } from './user-config.ts';

interface Version {
  readonly before: Buffer | undefined;
  readonly after: Buffer | undefined;
}

/** A change of two files: our Include in the user's ssh config, and our own file. */
export interface Change {
  readonly paths: Paths;
  readonly userConfig: UserConfig;
  readonly user: Version;
  readonly blocks: Version;
  /** The names that the user has approved; undefined if the file with them is removed too. */
  readonly approved: ReadonlySet<string> | undefined;
  /** Both changes as a unified diff for the user; empty if nothing changes. */
  readonly diff: string;
}

const maxBytes = 64_000_000;
const lockMilliseconds = 5_000;

/**
 * Plans to write our file and to put the Include at the top of the user's ssh config. A read-only config that already
 * includes our file for all hosts is left alone: tools such as home-manager generate it.
 *
 * @param blocks the new content of our file, and the names that the user has approved
 * @throws MintError `io-failed`, `unsafe-permissions`, `ssh-config-unsafe`
 */
export function planWriting(
  paths: Paths,
  userConfig: UserConfig,
  { text, approved }: { readonly text: string; readonly approved: ReadonlySet<string> },
): Change {
  const include = quoteInclude(paths.sshConfig);
  const before = userConfig.bytes;
  const { inPlace, byHand } = inspectInclude(before, include, paths.sshConfig);
  const isIncluded =
    inPlace || (!isReplaceable(userConfig) && byHand !== undefined && byHand.under === undefined);
  const after = isIncluded ? before : addInclude(before, include);
  return { ...plan(paths, userConfig, { before, after }, Buffer.from(text)), approved };
}

/**
 * Plans to remove our file and the Include.
 *
 * @throws MintError `io-failed`, `unsafe-permissions`, `ssh-config-unsafe`
 */
export function planRemoval(paths: Paths, userConfig: UserConfig): Change {
  const after = removeInclude(userConfig.bytes, quoteInclude(paths.sshConfig));
  return plan(paths, userConfig, { before: userConfig.bytes, after }, undefined);
}

function plan(paths: Paths, userConfig: UserConfig, user: Version, after: Buffer | undefined): Change {
  const blocks = { before: readPrivateFile(paths.sshConfig, { maxBytes }), after };
  const diff =
    unifiedDiff(userConfig.path, user.before, user.after) +
    unifiedDiff(paths.sshConfig, blocks.before, blocks.after);
  return { paths, userConfig, user, blocks, diff, approved: undefined };
}

/**
 * Checks beforehand what would make `carryOut` fail half-way.
 *
 * @throws MintError `io-failed`, `unsafe-permissions`, `ssh-config-unsafe`
 */
export function checkChange({ paths, userConfig, user }: Change): void {
  if (!isSame(user)) checkWritable(userConfig, quoteInclude(paths.sshConfig));
}

/**
 * Replaces both files atomically. Our file is written before the Include and removed after it.
 *
 * @throws MintError `io-failed`, with nothing changed, if someone else changed a file after the plan
 */
export function carryOut({ paths, userConfig, user, blocks, approved }: Change): void {
  if (blocks.after !== undefined) prepareDirectories(paths, namesInBlocks(blocks.after));
  const writeUser = () => {
    if (!isSame(user)) writeUserConfig(userConfig, user.after, quoteInclude(paths.sshConfig));
  };
  if (!existsSync(paths.dir)) {
    writeUser();
    return;
  }
  ensureClosedDirectory(paths.run);
  withLock(join(paths.run, 'ssh-config.lock'), lockMilliseconds, () => {
    // Before the blocks: the new ones no longer have the approvals as comments.
    recordApprovals(paths, approved);
    if (blocks.after !== undefined && !isSame(blocks)) {
      writeAtomic(paths.sshConfig, blocks.after, { mode: 0o600 });
    }
    writeUser();
    if (blocks.before !== undefined && blocks.after === undefined) removeFile(paths.sshConfig);
  });
}

/**
 * Creates the files that the blocks of these VMs name: ssh prints an error if a forward socket is missing, and asyncssh
 * reads the known-hosts files before it connects.
 */
export function prepareDirectories(paths: Paths, vms: Iterable<string>): void {
  ensurePrivateDirectory(paths.dir);
  ensurePrivateDirectory(paths.hosts);
  ensureForwardSocket(paths);
  ensureClosedDirectory(paths.sharedSockets);
  const names = [...vms];
  ensureForwardSockets(paths, names);
  for (const name of names) {
    const { knownHosts, libsshKnownHosts } = vmPaths(paths, name);
    ensureFile(knownHosts);
    ensureFile(libsshKnownHosts);
  }
}

/** @returns the VMs that have a block in a generated ssh_config */
function namesInBlocks(text: Buffer): Set<string> {
  return new Set(
    [...text.toString('latin1').matchAll(/^Host ([a-z0-9][a-z0-9._-]{0,62})/gm)].map(([, name = '']) => name),
  );
}

function isSame({ before, after }: Version): boolean {
  return before === undefined || after === undefined ? before === after : before.equals(after);
}

function ensureFile(path: string): void {
  try {
    closeSync(openSync(path, 'wx', 0o600));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw ioFailed('create', path, error);
  }
}

function removeFile(path: string): void {
  try {
    unlinkSync(path);
  } catch (error) {
    throw ioFailed('remove', path, error);
  }
}
