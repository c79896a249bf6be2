/** The limit on open files of this process (`ulimit -n`). Node raises the soft limit to the hard one at its start. */
import { closeSync, openSync } from 'node:fs';
import { devNull } from 'node:os';
import { MintError } from '../errors.ts';

/** The agent's own sockets and its AWS connections take about 30, a login three. */
const neededToStart = 64;

/** With fewer than these left, the last connection may have been dropped because there were none. */
const scarce = 8;

/**
 * One agent serves every terminal of the user. It must not run with the low limit of the terminal that happened
 * to start it, where it would fail for all of them.
 *
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

/** Whether a connection may just have been dropped for lack of descriptors: the system reports none it did not accept. */
export function descriptorsAreScarce(): boolean {
  return descriptorsLeft(scarce) < scarce;
}

/**
 * How many more files this process can open.
 *
 * @param max where to stop counting: each one counted is opened for a moment, in about a microsecond
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
