/**
 * Files and directories that other users must not be able to change or, for secrets, to read. New files are private from
 * their creation on; existing ones are checked before they are used.
 */

import { randomBytes } from 'node:crypto';
import {
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  fsyncSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  realpathSync,
  renameSync,
  type Stats,
  statSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { userInfo } from 'node:os';
import { basename, dirname, join, win32 } from 'node:path';
import { command } from '../cli/shell-command.ts';
import { printable } from '../cli/terminal.ts';
import { type ErrorCode, MintError, systemErrorHint } from '../errors.ts';
import { sleepSync } from './sleep.ts';

/** Not on Windows, where the profile's access list protects files; see `checkInProfile`. */
const user = process.getuid?.();
/** How often the replacement of an open file is retried, and the pause in milliseconds. */
const replaceAttempts = 50;
const replacePause = 20;
const noFollow = constants.O_NOFOLLOW ?? 0;
const nonBlocking = constants.O_NONBLOCK ?? 0;

/**
 * Creates a directory with mode 0700, and missing directories above it. Checks an existing one: it must be a directory of
 * the user, not a link, and no other user may be able to write to it or replace it.
 * @throws MintError `unsafe-permissions`, `io-failed`
 */
export function ensurePrivateDirectory(path: string): void {
  checkDirectory(path, 0o022);
}

/**
 * As `ensurePrivateDirectory`, for a directory with sockets or keys: no other user may list it either.
 * @throws MintError `unsafe-permissions`, `io-failed`
 */
export function ensureClosedDirectory(path: string): void {
  checkDirectory(path, 0o077);
}

function checkDirectory(path: string, forbidden: number): void {
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
  } catch (error) {
    // A dangling link or a file is in its place: lstat below finds it.
    if (codeOf(error) !== 'EEXIST' && codeOf(error) !== 'ENOENT') throw ioFailed('create', path, error);
  }
  const found = attempt('look at', path, () => lstatSync(path));
  if (found.isSymbolicLink()) throw unsafe(path, 'is a symbolic link', 'put a directory of your own there');
  if (!found.isDirectory()) throw unsafe(path, 'is not a directory', 'move it away');
  checkOwner(path, found, false);
  checkMode(path, found, forbidden);
  checkAbove(path);
}

/**
 * The owner of a directory, and every user who can write to it, can replace its entries, except others' entries of a
 * sticky one. So all directories above are checked, as sshd's StrictModes does below the home directory.
 */
function checkAbove(path: string): void {
  if (user === undefined) {
    checkInProfile(path);
    return;
  }
  let at = attempt('resolve', path, () => realpathSync(path));
  while (at !== dirname(at)) {
    at = dirname(at);
    const above = attempt('look at', at, () => statSync(at));
    if (above.uid !== user && above.uid !== 0 && above.uid !== unmappedUser()) {
      throw unsafe(
        path,
        `is in ${quoted(at)}, whose owner (uid ${above.uid}) could replace it`,
        command`sudo chown ${String(user)} ${at}`,
      );
    }
    const isSticky = (above.mode & 0o1000) !== 0;
    if (!isSticky && (above.mode & 0o022) !== 0) {
      const who = (above.mode & 0o002) !== 0 ? 'anyone' : `the group ${above.gid}`;
      throw unsafe(path, `is in ${quoted(at)}, where ${who} could replace it`, command`chmod go-w ${at}`);
    }
  }
}

/** In a user namespace, the owner that is shown for files of unmapped users: root, for system directories. */
function unmappedUser(): number | undefined {
  try {
    const isWhole = /^\s*0\s+0\s+4294967295\s*$/.test(readFileSync('/proc/self/uid_map', 'latin1'));
    return isWhole ? undefined : Number(readFileSync('/proc/sys/kernel/overflowuid', 'latin1'));
  } catch {
    return undefined;
  }
}

/**
 * Windows: by default only the user, the system and administrators have access to the user's profile. Elsewhere every
 * user often has, and Node cannot tell.
 */
function checkInProfile(path: string): void {
  const profile = attempt('resolve', path, () => realpathSync.native(userInfo().homedir));
  const real = attempt('resolve', path, () => realpathSync.native(path));
  if (isBelow(real, profile)) return;
  throw unsafe(
    path,
    `is outside your profile ${quoted(profile)}, and other users of Windows may have access`,
    'use a directory in your profile: --config-dir DIR, or run_dir in ssh.toml',
  );
}

/** Windows: compares paths without regard to case. */
export function isBelow(path: string, directory: string): boolean {
  const way = win32.relative(directory, path);
  return way !== '' && way !== '..' && !way.startsWith('..\\') && !win32.isAbsolute(way);
}

/**
 * Reads a regular file of the user or root that no other user can write to. Does not follow a link in its last part.
 * @param options `secret`: no other user may be able to read it either; `tooLarge`: the code for a file with more than
 *   `maxBytes`, by default `io-failed`
 * @returns undefined if the file does not exist
 * @throws MintError `unsafe-permissions`, `io-failed`, `tooLarge`
 */
export function readPrivateFile(
  path: string,
  options: { readonly maxBytes: number; readonly tooLarge?: ErrorCode; readonly secret?: boolean },
): Buffer | undefined {
  let descriptor: number;
  try {
    descriptor = openSync(path, constants.O_RDONLY | noFollow | nonBlocking);
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined;
    if (codeOf(error) === 'ELOOP' || codeOf(error) === 'EMLINK') {
      throw unsafe(path, 'is a symbolic link', 'put the file itself there');
    }
    if (codeOf(error) === 'ENXIO') throw unsafe(path, 'is not a regular file', 'move it away');
    throw ioFailed('read', path, error);
  }
  try {
    const found = fstatSync(descriptor);
    if (!found.isFile()) throw unsafe(path, 'is not a regular file', 'move it away');
    checkOwner(path, found, true);
    checkMode(path, found, options.secret === true ? 0o077 : 0o022);
    return readAll(descriptor, path, options);
  } finally {
    closeSync(descriptor);
  }
}

function readAll(
  descriptor: number,
  path: string,
  { maxBytes, tooLarge = 'io-failed' }: { readonly maxBytes: number; readonly tooLarge?: ErrorCode },
): Buffer {
  const pieces: Buffer[] = [];
  for (let total = 0; ; ) {
    const piece = Buffer.allocUnsafe(Math.min(65_536, maxBytes + 1 - total));
    const length = attempt('read', path, () => readSync(descriptor, piece));
    if (length === 0) return Buffer.concat(pieces, total);
    pieces.push(piece.subarray(0, length));
    total += length;
    if (total > maxBytes) throw new MintError(tooLarge, `${quoted(path)} has more than ${maxBytes} bytes`);
  }
}

/**
 * Replaces a file so that a reader sees the old bytes or the new ones, even after a crash. A link in its place is replaced,
 * not followed.
 * @param options `beforeRename`: called last; if it throws, the file stays as it was
 * @throws MintError `io-failed`; no temporary file is left
 */
export function writeAtomic(
  path: string,
  bytes: string | Uint8Array,
  options: { readonly mode: number; readonly beforeRename?: () => void },
): void {
  const directory = dirname(path);
  // A file name has at most 255 bytes: shorten the name, not the random part.
  const temporary = join(directory, `.${basename(path).slice(0, 80)}.${randomBytes(8).toString('hex')}.tmp`);
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | noFollow;
  const descriptor = attempt('write', path, () => openSync(temporary, flags, 0o600));
  try {
    try {
      attempt('write', path, () => {
        const content = Buffer.from(bytes);
        for (let written = 0; written < content.length; ) {
          written += writeSync(descriptor, content, written);
        }
        fchmodSync(descriptor, options.mode);
        fsyncSync(descriptor);
      });
    } finally {
      closeSync(descriptor);
    }
    options.beforeRename?.();
    attempt('write', path, () => replace(temporary, path));
  } catch (error) {
    removeQuietly(temporary);
    throw error;
  }
  syncDirectory(directory);
}

/**
 * On Windows an open file cannot be replaced, and a virus scanner opens new files for a moment.
 */
function replace(temporary: string, path: string): void {
  for (let left = user === undefined ? replaceAttempts : 0; ; left -= 1) {
    try {
      renameSync(temporary, path);
      return;
    } catch (error) {
      if (left <= 0 || !['EPERM', 'EACCES', 'EBUSY'].includes(codeOf(error) ?? '')) throw error;
      sleepSync(replacePause);
    }
  }
}

/** Syncs the directory. Otherwise a crash may lose the rename although the file's bytes are on the disk. */
function syncDirectory(directory: string): void {
  let descriptor: number | undefined;
  try {
    descriptor = openSync(directory, constants.O_RDONLY);
    fsyncSync(descriptor);
  } catch {
    // Some file systems (and Windows) do not support this. The rename has already happened.
  } finally {
    if (descriptor !== undefined) closeSync(descriptor);
  }
}

/**
 * @param root whether root may own the file too
 * @throws MintError `unsafe-permissions` if another user owns it
 */
function checkOwner(path: string, found: Stats, root: boolean): void {
  if (user === undefined || found.uid === user || (root && found.uid === 0)) return;
  throw unsafe(
    path,
    `belongs to another user (uid ${found.uid})`,
    command`sudo chown ${String(user)} ${path}`,
  );
}

function checkMode(path: string, found: Stats, forbidden: number): void {
  if (user === undefined || (found.mode & forbidden) === 0) return;
  const mode = (found.mode & 0o7777).toString(8).padStart(4, '0');
  const readable = (forbidden & 0o044) !== 0;
  const what = readable ? 'is open to others' : 'can be written by others';
  throw unsafe(path, `${what} (mode ${mode})`, command`chmod ${readable ? 'go-rwx' : 'go-w'} ${path}`);
}

function unsafe(path: string, what: string, remedy: string): MintError {
  return new MintError('unsafe-permissions', `${quoted(path)} ${what}`, { hint: remedy });
}

function attempt<T>(what: string, path: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    throw ioFailed(what, path, error);
  }
}

/** @returns an `io-failed` error with the action, the path and a remedy */
export function ioFailed(what: string, path: string, cause: unknown): MintError {
  const code = codeOf(cause);
  const reason = code ?? (cause instanceof Error ? cause.message : String(cause));
  return new MintError('io-failed', `cannot ${what} ${quoted(path)}: ${reason}`, {
    cause,
    hint: systemErrorHint(code),
  });
}

function codeOf(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException).code;
}

function removeQuietly(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // Already removed, or the directory is read-only now: nothing more can be done.
  }
}

/** @returns a path for a message: in quotes and escaped, C1 and bidirectional controls included, unlike JSON */
export function quoted(path: string): string {
  return printable(JSON.stringify(path));
}

/**
 * @param text the bytes of a file as latin1, which keeps each of them
 * @returns its lines with their line ends; the last may have none
 */
export function splitLines(text: string): string[] {
  return text.match(/[^\n]*\n|[^\n]+$/g) ?? [];
}
