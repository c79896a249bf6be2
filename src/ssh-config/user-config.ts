import { existsSync, lstatSync, realpathSync, unlinkSync } from 'node:fs';
import { userInfo } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { MintError } from '../errors.ts';
import { ensurePrivateDirectory, ioFailed, quoted, readPrivateFile, writeAtomic } from '../platform/files.ts';
import { system } from '../platform/system/system.ts';

/** The user's own ssh config as it is now. */
export interface UserConfig {
  /** The path that ssh uses. */
  readonly path: string;
  /** The regular file: `path` itself, or the target of the symbolic link. */
  readonly target: string;
  /** Undefined if the file does not exist. */
  readonly bytes: Buffer | undefined;
  readonly mode: number;
  /** Set if the file may be read but not replaced: it belongs to root, or has a second hard link. */
  readonly obstacle: MintError | undefined;
}

const maxBytes = 16_000_000;

/**
 * @param file the value of `--file`, if given
 * @returns that file, else `~/.ssh/config` below the home directory of the passwd entry, as in ssh
 * @throws MintError `usage` if `$HOME` differs from the passwd entry: the user may mean either
 */
export function userConfigPath(
  file: string | undefined,
  environment: NodeJS.ProcessEnv = process.env,
): string {
  if (file !== undefined) return resolve(file);
  const home = userInfo().homedir;
  // ssh ignores HOME on Windows, and so does mint-ssh.
  const claimed = system.hasPasswd ? environment['HOME'] : undefined;
  if (claimed && !sameDirectory(claimed, home)) {
    throw new MintError(
      'usage',
      `HOME is ${quoted(claimed)}, but ssh reads ${quoted(join(home, '.ssh/config'))}`,
      {
        hint: 'name the file: --file PATH',
      },
    );
  }
  return join(home, '.ssh', 'config');
}

function sameDirectory(one: string, other: string): boolean {
  if (resolve(one) === resolve(other)) return true;
  try {
    return realpathSync(one) === realpathSync(other);
  } catch {
    return false;
  }
}

/**
 * Reads the file, and checks whether we may replace it: it must be a regular file of the user in a directory that no
 * other user can write to. A symbolic link is followed. A generated config (home-manager) belongs to root and is
 * read-only; it can still be read.
 *
 * @throws MintError `unsafe-permissions` if another user could change the file, `ssh-config-unsafe`, `io-failed`
 */
export function readUserConfig(path: string): UserConfig {
  const entry = lstatSync(path, { throwIfNoEntry: false });
  if (entry === undefined) {
    const directory = dirname(path);
    // The directory of a new file must be safe too.
    if (existsSync(directory)) ensurePrivateDirectory(realpathSync(directory));
    return { path, target: path, bytes: undefined, mode: 0o600, obstacle: undefined };
  }
  const target = followed(path);
  const { uid, nlink, mode } = lstatSync(target);
  // Only root can have put a file of root there, so the directory does not matter.
  const isRoots = uid === 0 && process.getuid?.() !== 0;
  if (!isRoots) ensurePrivateDirectory(dirname(target));
  const bytes = readPrivateFile(target, { maxBytes, tooLarge: 'ssh-config-unsafe' });
  const obstacle = isRoots ? rootsFile(target) : nlink > 1 ? hardLink(target) : undefined;
  return { path, target, bytes, mode: mode & 0o7777, obstacle };
}

function rootsFile(target: string): MintError {
  return new MintError('unsafe-permissions', `${quoted(target)} belongs to root`, {
    hint: 'use a file of your own: --file PATH',
  });
}

function hardLink(target: string): MintError {
  return new MintError('ssh-config-unsafe', `${quoted(target)} is a hard link`, {
    hint: 'replacing it would separate the two names: make it one file, or use --file PATH',
  });
}

function followed(path: string): string {
  try {
    return realpathSync(path);
  } catch (cause) {
    throw new MintError('ssh-config-unsafe', `${quoted(path)} is a broken symbolic link`, {
      cause,
      hint: 'fix or remove the link, or use --file PATH',
    });
  }
}

/** @returns whether we may replace the file: the user owns it, and it is not read-only */
export function isReplaceable({ bytes, mode, obstacle }: UserConfig): boolean {
  return obstacle === undefined && (bytes === undefined || (mode & 0o200) !== 0);
}

/**
 * @param include the value of our Include line
 * @throws MintError `io-failed` if the file is read-only, `unsafe-permissions`, `ssh-config-unsafe`
 */
export function checkWritable(config: UserConfig, include: string): void {
  if (isReplaceable(config)) return;
  if (config.obstacle !== undefined && (config.mode & 0o200) !== 0) throw config.obstacle;
  throw new MintError('io-failed', `${quoted(config.path)} is read-only`, {
    hint: `make it writable (chmod u+w), or add this line at its top: Include ${include}; or run: mint-ssh ssh VM`,
    cause: config.obstacle,
  });
}

/**
 * Replaces the file atomically and keeps its mode.
 *
 * @param bytes undefined removes the file
 * @throws MintError `io-failed`, with nothing changed, if someone else changed the file after we read it
 */
export function writeUserConfig(config: UserConfig, bytes: Buffer | undefined, include = 'PATH'): void {
  checkWritable(config, include);
  if (bytes === undefined) {
    checkUnchanged(config);
    try {
      unlinkSync(config.target);
    } catch (error) {
      throw ioFailed('remove', config.target, error);
    }
    return;
  }
  const directory = dirname(config.target);
  ensurePrivateDirectory(existsSync(directory) ? realpathSync(directory) : directory);
  writeAtomic(config.target, bytes, { mode: config.mode, beforeRename: () => checkUnchanged(config) });
}

function checkUnchanged(config: UserConfig): void {
  const now = readUserConfig(config.path);
  const same = now.bytes === undefined ? config.bytes === undefined : config.bytes?.equals(now.bytes);
  if (same && now.target === config.target) return;
  throw new MintError('io-failed', `${quoted(config.path)} changed while mint-ssh ran`, {
    hint: 'nothing was written there: run the command again',
  });
}
