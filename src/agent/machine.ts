import {
  closeSync,
  fstatSync,
  futimesSync,
  lstatSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
} from 'node:fs';
import { hostname } from 'node:os';
import { printable } from '../cli/terminal.ts';
import { MintError } from '../errors.ts';
import { readPrivateFile, writeAtomic } from '../platform/files.ts';

/** How often the agent says that its machine holds the run directory, in milliseconds. */
const heartbeat = 30_000;
/** A machine that has not said so for this long does not hold it any more, in milliseconds. */
const patience = 120_000;

/**
 * Names the machine that holds the run directory. A home directory on a network is seen by many machines, a
 * Unix socket works on one alone, and file locks between them cannot be relied on.
 *
 * @returns gives the claim up
 * @throws MintError `agent-unavailable` where another machine holds it
 */
export function claimForMachine(path: string, run: string): () => void {
  const own = machineId();
  const claim = readPrivateFile(path, { maxBytes: 1024 })?.toString('utf8').trim() ?? '';
  const [holder = '', name = ''] = claim.split(' ');
  const age = Date.now() - (statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0);
  if (holder !== '' && holder !== own && age < patience) {
    throw new MintError('agent-unavailable', `an agent on another machine (${printable(name)}) uses ${run}`, {
      hint: 'set run_dir in ssh.toml to a path that is local to each machine, for example "/tmp/mint-ssh-YOU"',
    });
  }
  writeAtomic(path, `${own} ${hostname()}\n`, { mode: 0o600 });
  // Held open, so that the file is known again: what stands at the path later may be another agent's claim.
  const file = openSync(path, 'r+');
  const { ino, dev } = fstatSync(file);
  const timer = setInterval(() => {
    try {
      const now = new Date();
      futimesSync(file, now, now);
    } catch {
      // A network that is away for a moment.
    }
  }, heartbeat).unref();
  return () => {
    clearInterval(timer);
    const found = lstatSync(path, { throwIfNoEntry: false });
    if (found?.ino === ino && found.dev === dev) rmSync(path, { force: true });
    closeSync(file);
  };
}

/** Stable where the host name is not (a laptop between networks): the machine id where there is one. */
function machineId(): string {
  try {
    const id = readFileSync('/etc/machine-id', 'utf8').trim();
    if (/^[0-9a-f]{32}$/.test(id)) return id;
  } catch {
    // Not Linux.
  }
  return hostname();
}
