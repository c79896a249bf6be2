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
  if (descriptorsLeft(neededToStart) === neededToStart) return;
  throw new MintError('agent-unavailable', 'open-file limit too low for the agent', {
    hint: 'raise the limit where ssh runs: ulimit -n 1024',
  });
}

/** Whether a connection may just have been dropped because no descriptors were left: the system does not report that. */
export function descriptorsAreScarce(): boolean {
  return descriptorsLeft(scarce) < scarce;
}

/**
 * @param max where to stop counting
 * @returns how many more files this process can open, at most `max`
 */
export function descriptorsLeft(max: number): number {
  return Math.min(max, limitMinusOpen(max));
}

/**
 * From proc(5). On Linux counting by opening is slow: when the 65th descriptor enlarges the table of a process with
 * threads, the kernel waits for all processors, which takes 5 to 20 ms.
 */
function limitMinusOpen(max: number): number {
  try {
    const [, limit] = /^Max open files +(\d+)/m.exec(readFileSync('/proc/self/limits', 'latin1')) ?? [];
    // The listing has a descriptor of its own.
    const open = readdirSync('/proc/self/fd').length - 1;
    return limit === undefined ? max : Math.max(0, Number(limit) - open);
  } catch {
    // No descriptor is left for these files, or there is no /proc.
    return countByOpening(max);
  }
}

function countByOpening(max: number): number {
  const opened: number[] = [];
  try {
    while (opened.length < max) opened.push(openSync(devNull, 'r'));
    return max;
  } catch {
    return opened.length;
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
