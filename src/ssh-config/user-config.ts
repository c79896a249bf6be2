import { existsSync, lstatSync, realpathSync, unlinkSync } from 'node:fs';
import { userInfo } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { MintError } from '../errors.ts';
import { ensurePrivateDirectory, ioFailed, quoted, readPrivateFile, writeAtomic } from '../platform/files.ts';
import { usesPipes } from '../platform/sockets.ts';

/** The user's own ssh config as it is now. */
export interface UserConfig {
  /** As the user and ssh call it. */
  readonly path: string;
  /** Where its bytes are: the same, or what a symbolic link leads to. */
  readonly target: string;
  /** Undefined where there is no file. */
  readonly bytes: Buffer | undefined;
  readonly mode: number;
}

const maxBytes = 16_000_000;

/**
 * `~/.ssh/config` by the passwd entry, as ssh finds it, or the file that was asked for. Throws `usage`
 * where `$HOME` says something else: the person means one of the two, and we do not guess which.
 */
export function userConfigPath(
  file: string | undefined,
  environment: NodeJS.ProcessEnv = process.env,
): string {
  if (file !== undefined) return resolve(file);
  const home = userInfo().homedir;
  // On Windows ssh takes no notice of it, and neither does anyone else here.
  const claimed = usesPipes ? undefined : environment['HOME'];
  if (claimed && !sameDirectory(claimed, home)) {
    throw new MintError(
      'usage',
      `HOME is ${quoted(claimed)}, but ssh reads ${quoted(join(home, '.ssh/config'))}`,
      {
        hint: 'say which file you mean: --file PATH',
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
 * Reads the file and makes sure that we may replace it: a link is followed only to a regular file of the
 * user's own in a directory that is theirs alone to change. Throws `unsafe-permissions`,
 * `ssh-config-unsafe` or `io-failed`.
 */
export function readUserConfig(path: string): UserConfig {
  const entry = lstatSync(path, { throwIfNoEntry: false });
  if (entry === undefined) {
    const directory = dirname(path);
    // What will be written there has to be as safe as what is already there.
    if (existsSync(directory)) ensurePrivateDirectory(realpathSync(directory));
    return { path, target: path, bytes: undefined, mode: 0o600 };
  }
  const target = followed(path);
  ensurePrivateDirectory(dirname(target));
  const bytes = readPrivateFile(target, { maxBytes, tooLarge: 'ssh-config-unsafe' });
  const found = lstatSync(target);
  if (found.uid !== (process.getuid?.() ?? found.uid)) {
    throw new MintError(
      'unsafe-permissions',
      `${quoted(target)} belongs to another user (uid ${found.uid})`,
      {
        hint: 'use a file of your own: --file PATH',
      },
    );
  }
  if (found.nlink > 1) {
    throw new MintError('ssh-config-unsafe', `${quoted(target)} has another name (a hard link)`, {
      hint: 'replacing it would part the two: make it one file, or use --file PATH',
    });
  }
  return { path, target, bytes, mode: found.mode & 0o7777 };
}

function followed(path: string): string {
  try {
    return realpathSync(path);
  } catch (cause) {
    throw new MintError('ssh-config-unsafe', `${quoted(path)} is a symbolic link that leads nowhere`, {
      cause,
      hint: 'mend or remove the link, or use --file PATH',
    });
  }
}

/** Throws `io-failed` where the user has made the file read-only: that is a wish, though we could. */
export function checkWritable(config: UserConfig): void {
  if (config.bytes === undefined || (config.mode & 0o200) !== 0) return;
  throw new MintError('io-failed', `${quoted(config.path)} is read-only`, {
    hint: 'make it writable (chmod u+w), or use --file PATH, or do without it: mint-ssh ssh VM',
  });
}

/**
 * Replaces the file in one step, or removes it when `bytes` is undefined; its mode stays. Throws
 * `io-failed`, with nothing changed, when someone else changed it after we read it.
 */
export function writeUserConfig(config: UserConfig, bytes: Buffer | undefined): void {
  checkWritable(config);
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
  throw new MintError('io-failed', `${quoted(config.path)} was changed by someone else just now`, {
    hint: 'nothing was written there: run the command again',
  });
}
