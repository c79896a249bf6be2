/** Locks between the processes of one machine, and a claim between the machines that share a home directory. */
import {
  closeSync,
  constants,
  fstatSync,
  futimesSync,
  lstatSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
} from 'node:fs';
import { hostname } from 'node:os';
import { DatabaseSync } from 'node:sqlite';
import { printable } from '../cli/terminal.ts';
import { MintError } from '../errors.ts';
import { ioFailed, quoted, readPrivateFile, writeAtomic } from './files.ts';

export interface Lock {
  /** Calling it again has no effect. */
  release(): void;
}

/**
 * Locks out other processes, and other holders in this process, by an exclusive transaction on an empty database file:
 * Node has no flock, and SQLite's lock ends with its process, however that ends. Blocks for up to `waitMilliseconds`.
 * @returns undefined if the lock is still held after that time
 * @throws MintError `io-failed`, `unsafe-permissions`
 */
export function acquireLock(path: string, options: { readonly waitMilliseconds: number }): Lock | undefined {
  const deadline = performance.now() + options.waitMilliseconds;
  for (;;) {
    const wait = Math.max(0, Math.ceil(deadline - performance.now()));
    const file = lockFile(path);
    const database = begin(path, wait);
    if (database === undefined) return undefined;
    // If the file was removed or replaced before it was locked, other processes lock another file.
    if (file === identity(path)) return { release: () => finish(database) };
    finish(database);
  }
}

/**
 * Runs `action` under the lock.
 * @throws MintError `io-failed` if the lock is still held after `waitMilliseconds`
 */
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

/**
 * Creates the file if it is missing.
 * @returns its device and inode
 * @throws MintError `unsafe-permissions` if it is not a private regular file
 */
function lockFile(path: string): string | undefined {
  try {
    // An existing file is not opened: closing any descriptor of it would drop a POSIX lock that this process holds.
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

/** How often the agent renews the claim of its machine. */
const renewClaimMs = 30_000;
/** A claim that was not renewed for this long has expired. */
const claimLifetimeMs = 120_000;

/**
 * Claims the run directory for this machine. Many machines may share a home directory on a network, but a Unix socket
 * works on one machine only, and file locks between machines are not reliable.
 * @param path of the claim
 * @param run the run directory, for the message
 * @returns ends the claim
 * @throws MintError `agent-unavailable` if another machine holds it
 */
export function claimForMachine(path: string, run: string): () => void {
  const own = machineId();
  const claim = readPrivateFile(path, { maxBytes: 1024 })?.toString('utf8').trim() ?? '';
  const [holder = '', name = ''] = claim.split(' ');
  const age = Date.now() - (statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0);
  if (holder !== '' && holder !== own && age < claimLifetimeMs) {
    throw new MintError('agent-unavailable', `an agent on another machine (${printable(name)}) uses ${run}`, {
      hint: 'set run_dir in ssh.toml to a path that is local to each machine, for example "/tmp/mint-ssh-YOU"',
    });
  }
  writeAtomic(path, `${own} ${hostname()}\n`, { mode: 0o600 });
  // Kept open, so that the file can be recognized: later the path may hold the claim of another agent.
  const file = openSync(path, 'r+');
  const { ino, dev } = fstatSync(file);
  const timer = setInterval(() => {
    try {
      const now = new Date();
      futimesSync(file, now, now);
    } catch {
      // The network file system is not available for a moment.
    }
  }, renewClaimMs).unref();
  return () => {
    clearInterval(timer);
    const found = lstatSync(path, { throwIfNoEntry: false });
    if (found?.ino === ino && found.dev === dev) rmSync(path, { force: true });
    closeSync(file);
  };
}

/** The machine id if there is one, else the host name, which may change with the network. */
function machineId(): string {
  try {
    const id = readFileSync('/etc/machine-id', 'utf8').trim();
    if (/^[0-9a-f]{32}$/.test(id)) return id;
  } catch {
    // Not Linux.
  }
  return hostname();
}
