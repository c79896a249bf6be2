/**
 * `audit.log`, which Mint writes too: JSON Lines, one object for each action on a VM. Our lines have Mint's fields and, if
 * known, more: see `AuditEntry`.
 */

import {
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  lstatSync,
  openSync,
  readSync,
  renameSync,
  type Stats,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { command } from '../cli/shell-command.ts';
import { MintError } from '../errors.ts';
import { ensurePrivateDirectory, quoted } from './files.ts';
import { acquireLock, type Lock } from './lock.ts';
import type { Paths } from './paths.ts';
import { sleepSync } from './sleep.ts';

/**
 * `push`: a key was authorized on the instance. `login`: a key signed for the first time in a connection.
 * `host-key-changed`, `host-key-unverified`: a host key was blocked. `host-key-accepted`, `host-key-forgotten`: the user
 * decided about a host key. `key-…`: a key was changed in the store or on a VM. `debug-…`: access to a failed VM was
 * granted; the VM was destroyed, by the holder of the lease or by the reaper.
 */
export type AuditEvent =
  | 'push'
  | 'login'
  | 'host-key-changed'
  | 'host-key-unverified'
  | 'host-key-accepted'
  | 'host-key-forgotten'
  | 'key-added'
  | 'key-removed'
  | 'key-created'
  | 'key-imported'
  | 'key-exported'
  | 'key-shared'
  | 'key-deleted'
  | 'key-rotated'
  | 'key-attached'
  | 'key-detached'
  | 'key-migrated'
  | 'debug-granted'
  | 'debug-ended'
  | 'debug-reaped';

export interface AuditEntry {
  readonly event: AuditEvent;
  /** The command's words after `mint-ssh`. */
  readonly command: string;
  /** Undefined for an event without a VM. */
  readonly vm: string | undefined;
  /** The managed key of the event. */
  readonly key?: string | undefined;
  /** The caller's ARN, if AWS was asked for it before: no call is made for this line. */
  readonly callerArn?: string | undefined;
  readonly instance?: string | undefined;
  readonly user?: string | undefined;
  /** The request ID of SendSSHPublicKey, which CloudTrail has too. */
  readonly requestId?: string | undefined;
  /** The fingerprint of the event's key: the pushed one, or the host's. */
  readonly keyFingerprint?: string | undefined;
  /** The lease and the project of debug access. */
  readonly lease?: string | undefined;
  readonly project?: string | undefined;
}

/** At this size, in bytes, the file is renamed to `audit.log.1`, which replaces an older one. */
export const auditLimit = 10 * 1024 * 1024;
/** The maximum length of a value in characters; an ARN has at most 2048. */
const valueLimit = 512;

/** How long a line without its end may still be being written, in milliseconds. */
const writingMilliseconds = 5;

const noFollow = constants.O_NOFOLLOW ?? 0;
const nonBlocking = constants.O_NONBLOCK ?? 0;

/**
 * Appends a line in one write, so that lines of several processes do not mix. Never throws, because no login may depend
 * on it.
 *
 * @returns false if it could not be written: the disk is full, or another user could change the file
 */
export function appendAudit(paths: Paths, entry: AuditEntry): boolean {
  try {
    const line = formatEntry(entry);
    if ((regular(paths.audit)?.size ?? 0) + line.length > auditLimit) tryToRotate(paths, line.length);
    return append(paths.audit, line);
  } catch {
    return false;
  }
}

/**
 * Finds out, without writing, whether audit.log can be written. A login continues without its record and tells the user:
 * neither a full disk nor a file that other users can write to may lock the user out.
 * @returns the reason why it cannot be written; undefined if none is visible
 */
export function auditProblem({ audit: path }: Pick<Paths, 'audit'>): MintError | undefined {
  const unrecorded = (why: string, remedy: string) =>
    new MintError('unsafe-permissions', `nothing is recorded in ${quoted(path)}: ${why}`, { hint: remedy });
  try {
    const found = lstatSync(path, { throwIfNoEntry: false });
    if (found === undefined) return undefined;
    if (!found.isFile()) return unrecorded('it is not a regular file', command`mv ${path} ${`${path}.old`}`);
    if (!isSafe(found)) return unrecorded('others can write to it', command`chmod 600 ${path}`);
    closeSync(openSync(path, constants.O_RDWR | constants.O_APPEND | noFollow | nonBlocking));
    return undefined;
  } catch (error) {
    const { code = 'it cannot be opened' } = error as NodeJS.ErrnoException;
    return unrecorded(code, command`ls -l ${path}`);
  }
}

function formatEntry(entry: AuditEntry): string {
  const fields = {
    timestamp: new Date().toISOString(),
    command: limited(entry.command),
    vm_name: limited(entry.vm) ?? null,
    caller_arn: limited(entry.callerArn) ?? null,
    event: entry.event,
    instance_id: limited(entry.instance),
    user: limited(entry.user),
    aws_request_id: limited(entry.requestId),
    key: limited(entry.key),
    key_fingerprint: limited(entry.keyFingerprint),
    lease: limited(entry.lease),
    project: limited(entry.project),
  };
  // Only ASCII, so that untrusted text can neither break the line nor act on a terminal.
  const ascii = JSON.stringify(fields).replace(
    /[\u007f-\uffff]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
  return `${ascii}\n`;
}

function limited(value: string | undefined): string | undefined {
  return value === undefined || value.length <= valueLimit ? value : `${value.slice(0, valueLimit)}…`;
}

function append(path: string, line: string): boolean {
  const flags = constants.O_RDWR | constants.O_APPEND | constants.O_CREAT | noFollow | nonBlocking;
  const descriptor = openSync(path, flags, 0o600);
  try {
    const found = fstatSync(descriptor);
    if (!isSafe(found)) return false;
    if ((found.mode & 0o077) !== 0) fchmodSync(descriptor, 0o600);
    // An incomplete line of a full disk must not damage ours.
    const bytes = Buffer.from(endsInLine(descriptor) ? `\n${line}` : line);
    return writeSync(descriptor, bytes) === bytes.length;
  } finally {
    closeSync(descriptor);
  }
}

/** Writes appear page by page, so an incomplete line of another process is checked again a moment later. */
function endsInLine(descriptor: number): boolean {
  const last = Buffer.alloc(1);
  for (let before = -1; ; ) {
    const { size } = fstatSync(descriptor);
    if (size === 0 || readSync(descriptor, last, 0, 1, size - 1) !== 1 || last[0] === 10) return false;
    if (size === before) return true;
    before = size;
    sleepSync(writingMilliseconds);
  }
}

/** If another process is rotating the file, or it cannot be renamed, the line is still appended. */
function tryToRotate(paths: Paths, more: number): void {
  let lock: Lock | undefined;
  try {
    ensurePrivateDirectory(paths.hosts);
    // No VM's name starts with a dot.
    lock = acquireLock(join(paths.hosts, '.audit.lock'), { waitMilliseconds: 0 });
    if (lock === undefined || (regular(paths.audit)?.size ?? 0) + more <= auditLimit) return;
    renameSync(paths.audit, `${paths.audit}.1`);
  } catch {
    // The next line tries again.
  } finally {
    lock?.release();
  }
}

function regular(path: string): Stats | undefined {
  const found = lstatSync(path, { throwIfNoEntry: false });
  return found !== undefined && isSafe(found) ? found : undefined;
}

function isSafe(found: Stats): boolean {
  const user = process.getuid?.();
  return found.isFile() && (user === undefined || (found.uid === user && (found.mode & 0o022) === 0));
}
