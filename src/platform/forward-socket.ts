import { closeSync, lstatSync, openSync } from 'node:fs';
import { MintError } from '../errors.ts';
import { ensureClosedDirectory, ioFailed, quoted } from './files.ts';
import { type Paths, vmPaths } from './paths.ts';
import { hasForwardSockets } from './sockets.ts';

/**
 * Creates `run/forward.sock` as an empty file if it does not exist; the agent replaces it by its socket. ssh needs it
 * before it starts: otherwise every login prints an error, and `-A` forwards the VM's own agent instead of the user's.
 * @throws MintError `unsafe-permissions`, `io-failed`
 */
export function ensureForwardSocket(paths: Paths): void {
  ensureClosedDirectory(paths.run);
  ensurePlaceholder(paths.forward);
}

/**
 * Creates `run/forward/VM.sock` as an empty file for each of these VMs that has none: their blocks name it.
 * @throws MintError `unsafe-permissions`, `io-failed`
 */
export function ensureForwardSockets(paths: Paths, vms: Iterable<string>): void {
  ensureClosedDirectory(paths.forwardSockets);
  for (const vm of vms) ensurePlaceholder(vmPaths(paths, vm).forward);
}

function ensurePlaceholder(path: string): void {
  if (!hasForwardSockets) return;
  try {
    closeSync(openSync(path, 'wx', 0o600));
    return;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw ioFailed('create', path, error);
  }
  const found = lstatSync(path, { throwIfNoEntry: false });
  const owner = process.getuid?.();
  if (found === undefined || ((found.isSocket() || found.isFile()) && found.uid === (owner ?? found.uid)))
    return;
  throw new MintError('unsafe-permissions', `${quoted(path)} is neither a socket nor a file of yours`, {
    hint: 'remove it: it is made again when needed',
  });
}
