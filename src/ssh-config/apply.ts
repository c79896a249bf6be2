import { existsSync, unlinkSync } from 'node:fs';
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
import type { Paths } from '../platform/paths.ts';
import { recordApprovals } from './approvals.ts';
import { unifiedDiff } from './diff.ts';
import { addInclude, inspectInclude, removeInclude } from './include.ts';
import { putAsideMintBlocks, restoreMintBlocks } from './mint-blocks.ts';
import { quoteInclude } from './quote.ts';
import { checkWritable, type UserConfig, writeUserConfig } from './user-config.ts';

interface Version {
  readonly before: Buffer | undefined;
  readonly after: Buffer | undefined;
}

/** Two files that change together: the user's, by our Include, and ours. */
export interface Change {
  readonly paths: Paths;
  readonly userConfig: UserConfig;
  readonly user: Version;
  readonly blocks: Version;
  /** The names that the user has approved; undefined where they go with our file. */
  readonly approved: ReadonlySet<string> | undefined;
  /** What the two changes are, for a person to read; empty when there is nothing to do. */
  readonly diff: string;
}

const maxBytes = 64_000_000;
const lockMilliseconds = 5_000;

/**
 * Our blocks become `text`, the approved names are kept, and the Include is where it belongs.
 *
 * @param replaced the VMs whose blocks by Mint make way, where those are as Mint wrote them
 */
export function planWriting(
  paths: Paths,
  userConfig: UserConfig,
  { text, approved }: { readonly text: string; readonly approved: ReadonlySet<string> },
  replaced: ReadonlySet<string> = new Set(),
): Change {
  const include = quoteInclude(paths.sshConfig);
  const before = userConfig.bytes;
  const { inPlace } = inspectInclude(before, include, paths.sshConfig);
  const included = inPlace ? before : addInclude(before, include);
  const after = included && putAsideMintBlocks(included, replaced);
  return { ...plan(paths, userConfig, { before, after }, Buffer.from(text)), approved };
}

/** Our file goes, and the user's is what it would be without us. */
export function planRemoval(paths: Paths, userConfig: UserConfig): Change {
  const rest = removeInclude(userConfig.bytes, quoteInclude(paths.sshConfig));
  const after = rest && restoreMintBlocks(rest);
  return plan(paths, userConfig, { before: userConfig.bytes, after }, undefined);
}

function plan(paths: Paths, userConfig: UserConfig, user: Version, after: Buffer | undefined): Change {
  const blocks = { before: readPrivateFile(paths.sshConfig, { maxBytes }), after };
  const diff =
    unifiedDiff(userConfig.path, user.before, user.after) +
    unifiedDiff(paths.sshConfig, blocks.before, blocks.after);
  return { paths, userConfig, user, blocks, diff, approved: undefined };
}

/** Throws what would make `carryOut` fail half-way, as far as that can be known before. */
export function checkChange({ userConfig, user }: Change): void {
  if (!isSame(user)) checkWritable(userConfig);
}

/** Writes both files, each in one step. What the Include leads to is there before the Include, and goes after it. */
export function carryOut({ paths, userConfig, user, blocks, approved }: Change): void {
  if (blocks.after !== undefined) prepareDirectories(paths, namesInBlocks(blocks.after));
  const writeUser = () => {
    if (!isSame(user)) writeUserConfig(userConfig, user.after);
  };
  if (!existsSync(paths.dir)) {
    writeUser();
    return;
  }
  ensureClosedDirectory(paths.run);
  withLock(join(paths.run, 'ssh-config.lock'), lockMilliseconds, () => {
    // Before the blocks, which no longer have them as comments.
    recordApprovals(paths, approved);
    if (blocks.after !== undefined && !isSame(blocks)) {
      writeAtomic(paths.sshConfig, blocks.after, { mode: 0o600 });
    }
    writeUser();
    if (blocks.before !== undefined && blocks.after === undefined) removeFile(paths.sshConfig);
  });
}

/** What the blocks name has to be there before ssh starts. */
export function prepareDirectories(paths: Paths, vms: Iterable<string>): void {
  ensurePrivateDirectory(paths.dir);
  ensurePrivateDirectory(paths.hosts);
  ensureForwardSocket(paths);
  ensureClosedDirectory(paths.sharedSockets);
  ensureForwardSockets(paths, vms);
}

/** The VMs that a text of ours has blocks for. */
function namesInBlocks(text: Buffer): Set<string> {
  return new Set(
    [...text.toString('latin1').matchAll(/^Host ([a-z0-9][a-z0-9._-]{0,62})/gm)].map(([, name = '']) => name),
  );
}

function isSame({ before, after }: Version): boolean {
  return before === undefined || after === undefined ? before === after : before.equals(after);
}

function removeFile(path: string): void {
  try {
    unlinkSync(path);
  } catch (error) {
    throw ioFailed('remove', path, error);
  }
}
