import { closeSync, constants, lstatSync, openSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { MintError } from '../errors.ts';
import { ioFailed, quoted } from './files.ts';

export interface Lock {
  /** Gives the lock back; calling it again does nothing. */
  release(): void;
}

/**
 * Locks out other processes and other holders in this one, by an exclusive transaction on an empty database
 * file: Node has no flock, and SQLite's lock ends with its process, however that ends. Undefined when it is
 * still held after `waitMilliseconds`, through which this call blocks. Throws `io-failed` or
 * `unsafe-permissions`.
 */
export function acquireLock(path: string, options: { readonly waitMilliseconds: number }): Lock | undefined {
  const deadline = performance.now() + options.waitMilliseconds;
  for (;;) {
    const wait = Math.max(0, Math.ceil(deadline - performance.now()));
    const file = lockFile(path);
    const database = begin(path, wait);
    if (database === undefined) return undefined;
    // Someone may have removed or replaced the file before we had it: then others lock another one.
    if (file === identity(path)) return { release: () => finish(database) };
    finish(database);
  }
}

/** Runs `action` under the lock; throws `io-failed` when it stays busy. */
export function withLock<T>(path: string, waitMilliseconds: number, action: () => T): T {
  const lock = acquireLock(path, { waitMilliseconds });
  if (lock === undefined) {
    throw new MintError('io-failed', `${quoted(path)} is held by another process`, {
      hint: 'wait for the other mint-ssh to end, then run again',
    });
  }
  try {
    return action();
  } finally {
    lock.release();
  }
}

/** Makes sure that the file is there, private and regular; gives its identity. */
function lockFile(path: string): string | undefined {
  try {
    // Never opened when it exists: closing any descriptor of it would drop a POSIX lock this process holds.
    const flags = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | (constants.O_NOFOLLOW ?? 0);
    closeSync(openSync(path, flags, 0o600));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw ioFailed('lock', path, error);
  }
  return identity(path);
}

function identity(path: string): string | undefined {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) return undefined;
  const user = process.getuid?.();
  const foreign = user !== undefined && (found.uid !== user || (found.mode & 0o022) !== 0);
  if (!found.isFile() || foreign) {
    throw new MintError('unsafe-permissions', `${quoted(path)} is not a private file of yours`, {
      hint: 'remove it: it is an empty lock file and is made again when needed',
    });
  }
  return `${found.dev}:${found.ino}`;
}

function begin(path: string, wait: number): DatabaseSync | undefined {
  let database: DatabaseSync | undefined;
  try {
    database = new DatabaseSync(path, { timeout: wait });
    // Nothing is ever written, so nothing has to be rolled back from a journal on the disk.
    database.exec('PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE');
    return database;
  } catch (error) {
    database?.close();
    // SQLITE_BUSY
    if ((error as { errcode?: number }).errcode === 5) return undefined;
    throw ioFailed('lock', path, error);
  }
}

function finish(database: DatabaseSync): void {
  // Closing rolls back, and nothing was written.
  if (database.isOpen) database.close();
}
