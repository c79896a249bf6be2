/** How many files this process may open. */
import { closeSync, openSync } from 'node:fs';
import { devNull } from 'node:os';
import { MintError } from '../errors.ts';

/** Its own sockets and its AWS workers take some 30, a login three. */
const needed = 64;

/** With fewer than these left, there may have been none a moment ago. */
const scarce = 8;

/**
 * An agent serves every terminal of the user: it must not live within the narrow limits of the one that happened to
 * start it, where it would fail for all of them.
 * @throws MintError `agent-unavailable`
 */
export function requireDescriptors(): void {
  const cause = whyNot(needed);
  if (cause === undefined) return;
  throw new MintError('agent-unavailable', 'the agent may not open as many files as it needs', {
    hint: 'raise the limit where ssh runs: ulimit -n 1024',
    cause,
  });
}

/** Whether a connection may just have been dropped for want of descriptors: nobody tells of one that is not accepted. */
export function descriptorsAreScarce(): boolean {
  return whyNot(scarce) !== undefined;
}

/** Why so many more files cannot be opened; undefined where they can. */
function whyNot(count: number): unknown {
  const opened: number[] = [];
  try {
    while (opened.length < count) opened.push(openSync(devNull, 'r'));
    return undefined;
  } catch (error) {
    return error;
  } finally {
    for (const descriptor of opened) closeSync(descriptor);
  }
}
