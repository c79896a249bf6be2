/**
 * The open files of the agent's process, and their limit (`ulimit -n`). Node raises the soft limit to the hard one when it
 * starts.
 */
import { closeSync, openSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { devNull } from 'node:os';
import { MintError } from '../errors.ts';
import { system } from './system/system.ts';

/** The agent's own sockets and its AWS connections take about 30, a login three. */
const neededToStart = 64;

/** With fewer than these left, the last connection may have been dropped because there were none. */
const scarce = 8;

/**
 * One agent serves every terminal of the user. It must not run with the low limit of the terminal that happened to
 * start it, where it would fail for all of them.
 * @throws MintError `agent-unavailable`
 */
export function requireDescriptors(): void {
  const { cause } = open(neededToStart);
  if (cause === undefined) return;
  throw new MintError('agent-unavailable', 'open-file limit too low for the agent', {
    hint: 'raise the limit where ssh runs: ulimit -n 1024',
    cause,
  });
}

/** Whether a connection may just have been dropped because no descriptors were left: the system does not report that. */
export function descriptorsAreScarce(): boolean {
  return descriptorsLeft(scarce) < scarce;
}

/**
 * @param max where to stop counting: each descriptor counted is opened for about a microsecond
 * @returns how many more files this process can open
 */
export function descriptorsLeft(max: number): number {
  return open(max).count;
}

function open(max: number): { readonly count: number; readonly cause: unknown } {
  const opened: number[] = [];
  try {
    while (opened.length < max) opened.push(openSync(devNull, 'r'));
    return { count: max, cause: undefined };
  } catch (cause) {
    return { count: opened.length, cause };
  } finally {
    for (const descriptor of opened) closeSync(descriptor);
  }
}

/**
 * Closes the descriptors that the agent inherited from the process that started it (Linux): `ssh dev | tail` waits for
 * every process that holds the pipe. Node opens its own descriptors close-on-exec, so one without the flag is inherited.
 */
export function closeInheritedDescriptors(): void {
  if (!system.hasProc) return;
  for (const name of readdirSync('/proc/self/fd')) {
    const descriptor = Number(name);
    if (descriptor <= 2) continue;
    try {
      const flags = /^flags:\s*(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${name}`, 'latin1'))?.[1] ?? '0';
      const closeOnExec = (Number.parseInt(flags, 8) & 0o2000000) !== 0;
      if (!closeOnExec && !readlinkSync(`/proc/self/fd/${name}`).startsWith('anon_inode:'))
        closeSync(descriptor);
    } catch {
      // The descriptor of the listing itself.
    }
  }
}
