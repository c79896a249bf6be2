/**
 * Mint's file on the disk. Mint truncates and rewrites it in place, without a lock. So a reader may find it empty or
 * incomplete, and our rename may come between Mint's truncation and its write.
 */

import { type BigIntStats, closeSync, constants, fstatSync, lstatSync, openSync, readSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { MintError } from '../errors.ts';
import { ioFailed, quoted, readPrivateFile, writeAtomic } from '../platform/files.ts';
import { sleepSync } from '../platform/sleep.ts';
import { system } from '../platform/system/system.ts';
import { type Finding, findPin, knownHostsBytes } from './known-hosts.ts';

/** How long the file is read again before it counts as empty, incomplete or without a line. */
const settleMilliseconds = 200;
const lookAgainMilliseconds = 10;
/** A file that ends within a line is incomplete; one that changed this recently may be, at the end of a line. */
const writingMilliseconds = 20;
/** How often a write is repeated because Mint wrote at the same time. */
const rounds = 10;

/**
 * @returns the whole file as latin1; empty if it does not exist
 * @throws MintError `known-hosts-corrupt` and those of `readPrivateFile`
 */
export function readKnownHosts(path: string): string {
  const bytes = readPrivateFile(path, { maxBytes: knownHostsBytes, tooLarge: 'known-hosts-corrupt' });
  return bytes === undefined ? '' : checked(path, bytes.toString('latin1'));
}

/**
 * Reads the VM's line, and waits while Mint may be rewriting the file. A pin is returned at once. The absence of a pin is
 * returned once the file has not changed for 200 ms, or if it is as this process left it (`ours`, from
 * `updateKnownHosts`). With `expected` (our record has a pin) the file is read again for 200 ms first. A bad line, or a
 * file that is refused as a whole, counts once the file has not changed for 200 ms.
 *
 * @throws MintError `known-hosts-corrupt`, with file and line; those of `readPrivateFile`
 */
export async function findSettledPin(
  path: string,
  vm: string,
  { expected, ours }: { readonly expected: boolean; readonly ours: string | undefined },
): Promise<Exclude<Finding, { kind: 'bad' }>> {
  const deadline = performance.now() + settleMilliseconds;
  for (;;) {
    const found = attemptToFind(path, vm);
    const refused = found instanceof MintError;
    if (!refused && found.kind === 'pin') return found;
    // Checked after reading: if the file was truncated before, its time has changed by now.
    const stats = lstatSync(path, { bigint: true, throwIfNoEntry: false });
    const settled = stats === undefined || !isYoung(stats, settleMilliseconds) || identity(stats) === ours;
    if ((settled && (refused || !expected)) || performance.now() >= deadline) {
      if (refused) throw found;
      return found;
    }
    await delay(lookAgainMilliseconds);
  }
}

/** @returns the error for an invalid line */
export function badLine(path: string, vm: string, finding: Finding & { kind: 'bad' }): MintError {
  return new MintError(
    'known-hosts-corrupt',
    `${quoted(path)} line ${finding.line}, the host key of "${vm}": ${finding.reason}`,
    { hint: `fix the line, or \`mint-ssh hosts accept ${vm} FINGERPRINT\` replaces it` },
  );
}

/**
 * Replaces the file by the result of `edit`. The caller holds the lock. If Mint wrote to the file that our rename
 * replaced, its lines are adopted: the old file stays open and is read again. Blocks for at most 200 ms at a time, and
 * only while Mint is writing.
 *
 * @param left the result of the last call
 * @returns the identity of the new file; undefined if it was not changed
 * @throws MintError what `edit` throws; `known-hosts-corrupt`, `io-failed`, `unsafe-permissions`
 */
export function updateKnownHosts(
  path: string,
  left: string | undefined,
  edit: (text: string) => string,
): string | undefined {
  // By us or by Mint.
  if (!system.canReplaceOpenFiles) return updateClosed(path, left, edit);
  let ours: string | undefined;
  let overtaken: string | undefined;
  for (let round = 0; ; round += 1) {
    const { descriptor, created } = openOrCreate(path);
    try {
      const found = created ? '' : readSettled(descriptor, left, () => readKnownHosts(path));
      const changedAt = fstatSync(descriptor, { bigint: true }).mtimeNs;
      const text = edit(overtaken !== undefined && found === ours ? checked(path, overtaken) : found);
      if (text === found) return identityOf(path, ours);
      writeAtomic(path, Buffer.from(text, 'latin1'), { mode: 0o600 });
      ours = text;
      // If the file was empty, a Mint that has opened it and not written yet only changes its time.
      const isUntouched = fstatSync(descriptor, { bigint: true }).mtimeNs === changedAt;
      if (round === rounds || (isUntouched && readAll(path, descriptor) === found))
        return identityOf(path, ours);
      overtaken = readSettled(descriptor, left, () => readAll(path, descriptor));
    } finally {
      closeSync(descriptor);
    }
  }
}

/** Checks again right before the rename, in case Mint wrote in between. */
function updateClosed(
  path: string,
  left: string | undefined,
  edit: (text: string) => string,
): string | undefined {
  for (let round = 0; ; round += 1) {
    const { descriptor, created } = openOrCreate(path);
    let found = '';
    try {
      if (!created) found = readSettled(descriptor, left, () => readKnownHosts(path));
    } finally {
      closeSync(descriptor);
    }
    const text = edit(found);
    if (text === found) return identityOf(path, undefined);
    let overtaken = false;
    const beforeRename = () => {
      overtaken = readKnownHosts(path) !== found;
      if (overtaken) throw ioFailed('write', path, new Error('it kept changing'));
    };
    try {
      writeAtomic(path, Buffer.from(text, 'latin1'), { mode: 0o600, beforeRename });
      return identityOf(path, text);
    } catch (error) {
      if (!overtaken || round === rounds) throw error;
    }
  }
}

function attemptToFind(path: string, vm: string): Exclude<Finding, { kind: 'bad' }> | MintError {
  const text = attempt(() => readKnownHosts(path));
  if (text instanceof MintError) return text;
  const finding = findPin(text, vm);
  return finding.kind === 'bad' ? badLine(path, vm, finding) : finding;
}

function checked(path: string, text: string): string {
  const nul = text.indexOf('\0');
  if (nul < 0 && text.length <= knownHostsBytes) return text;
  const line = text.slice(0, Math.max(nul, 0)).split('\n').length;
  const what = nul < 0 ? `has more than ${knownHostsBytes} bytes` : `line ${line} has a NUL byte`;
  throw new MintError('known-hosts-corrupt', `${quoted(path)} ${what}`, {
    hint: 'fix the file; nothing in it is trusted until then',
  });
}

/** Creates an empty file if it does not exist, so that a Mint that creates it at the same moment is noticed. */
function openOrCreate(path: string): { descriptor: number; created: boolean } {
  const flags = (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0);
  try {
    try {
      const create = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL;
      return { descriptor: openSync(path, create | flags, 0o600), created: true };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      return { descriptor: openSync(path, constants.O_RDONLY | flags), created: false };
    }
  } catch (error) {
    throw ioFailed('open', path, error);
  }
}

/** Reads an open file, and waits while a writer seems to be in the middle of it. */
function readSettled(descriptor: number, left: string | undefined, read: () => string): string {
  const deadline = performance.now() + settleMilliseconds;
  for (;;) {
    const text = attempt(read);
    const stats = fstatSync(descriptor, { bigint: true });
    const whole = typeof text === 'string' && text.endsWith('\n');
    const quiet = whole ? writingMilliseconds : settleMilliseconds;
    if (!isYoung(stats, quiet) || identity(stats) === left || performance.now() >= deadline) {
      if (typeof text === 'string') return text;
      throw text;
    }
    sleepSync(lookAgainMilliseconds);
  }
}

/** A file whose content is refused may be one that Mint is writing. */
function attempt(read: () => string): string | MintError {
  try {
    return read();
  } catch (error) {
    if (error instanceof MintError && error.code === 'known-hosts-corrupt') return error;
    throw error;
  }
}

/** Reads from the first byte, regardless of the position; of a file over the limit, one byte more than the limit. */
function readAll(path: string, descriptor: number): string {
  try {
    let bytes = Buffer.allocUnsafe(Math.min(fstatSync(descriptor).size, knownHostsBytes) + 1);
    for (let length = 0; ; ) {
      const read = readSync(descriptor, bytes, length, bytes.length - length, length);
      length += read;
      if (read === 0 || length > knownHostsBytes) return bytes.toString('latin1', 0, length);
      if (length === bytes.length) bytes = Buffer.concat([bytes], Math.min(2 * length, knownHostsBytes + 1));
    }
  } catch (error) {
    throw ioFailed('read', path, error);
  }
}

/** A clock that was set back makes a file look older or newer than it is, but not new forever. */
function isYoung(stats: BigIntStats, milliseconds: number): boolean {
  return Math.abs(Date.now() - Number(stats.mtimeMs)) < milliseconds;
}

/** @returns undefined if the file does not have this text, or no longer has it */
function identityOf(path: string, text: string | undefined): string | undefined {
  const stats = lstatSync(path, { bigint: true, throwIfNoEntry: false });
  return stats === undefined || stats.size !== BigInt(text?.length ?? -1) ? undefined : identity(stats);
}

function identity(stats: BigIntStats): string {
  return `${stats.ino}:${stats.size}:${stats.mtimeNs}`;
}
