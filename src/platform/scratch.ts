/** Short-lived private directories, for files that another program has to read by name. */
import { lstatSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ensureClosedDirectory, ioFailed } from './files.ts';
import type { Paths } from './paths.ts';

const prefix = 'scratch-';
/** A directory this old was left by a process that was killed. */
const staleAfterMs = 7 * 24 * 3_600_000;

/**
 * Calls `action` with a new directory of mode 0700 and removes it when the promise settles.
 *
 * The directory is in our own run directory: `TMPDIR` may name a directory that is gone (nix-shell, direnv),
 * that is not writable, or that belongs to another user. It is used only where the run directory cannot be.
 *
 * @throws MintError `unsafe-permissions`, `io-failed`
 */
export async function withScratchDirectory<T>(
  { run }: Pick<Paths, 'run'>,
  action: (directory: string) => Promise<T>,
): Promise<T> {
  ensureClosedDirectory(run);
  removeStale(run);
  const directory = create(run);
  try {
    return await action(directory);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** A generated ssh_config with the user's own includes is smaller. */
const neededBytes = 65_536;

function create(run: string): string {
  try {
    return createIn(run, prefix);
  } catch (error) {
    // A full or read-only file system must not prevent a login to a VM that is already known.
    try {
      return createIn(tmpdir(), 'mint-ssh-');
    } catch {
      throw ioFailed('write to', run, error);
    }
  }
}

/** A full disk still takes a new directory, so some bytes are written to find out. */
function createIn(parent: string, start: string): string {
  const directory = mkdtempSync(join(parent, start));
  try {
    const probe = join(directory, 'probe');
    writeFileSync(probe, Buffer.alloc(neededBytes), { mode: 0o600 });
    rmSync(probe);
    return directory;
  } catch (error) {
    rmSync(directory, { recursive: true, force: true });
    throw error;
  }
}

function removeStale(run: string): void {
  try {
    for (const name of readdirSync(run)) {
      const path = join(run, name);
      if (!name.startsWith(prefix) || lstatSync(path).mtimeMs > Date.now() - staleAfterMs) continue;
      rmSync(path, { recursive: true, force: true });
    }
  } catch {
    // Another process removed it first. What is left is removed at the next call.
  }
}
