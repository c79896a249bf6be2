import { closeSync, lstatSync, openSync } from 'node:fs';
import { MintError } from '../errors.ts';
import { ensureClosedDirectory, ioFailed, quoted } from './files.ts';
import type { Paths } from './paths.ts';

/**
 * Makes sure that there is something at `run/forward.sock` before ssh starts: without it every login prints
 * an error, and `-A` forwards the VM's own agent instead of the user's. An empty file will do until the
 * agent puts its socket there. Throws `unsafe-permissions` or `io-failed`.
 */
export function ensureForwardSocket(paths: Paths): void {
  ensureClosedDirectory(paths.run);
  try {
    closeSync(openSync(paths.forward, 'wx', 0o600));
    return;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw ioFailed('create', paths.forward, error);
  }
  const found = lstatSync(paths.forward, { throwIfNoEntry: false });
  const owner = process.getuid?.();
  if (found === undefined || ((found.isSocket() || found.isFile()) && found.uid === (owner ?? found.uid)))
    return;
  throw new MintError(
    'unsafe-permissions',
    `${quoted(paths.forward)} is neither a socket nor a file of yours`,
    {
      hint: 'remove it: it is made again when needed',
    },
  );
}
