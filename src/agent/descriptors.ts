/** How many files this process may open. */
import { closeSync, openSync } from 'node:fs';
import { devNull } from 'node:os';
import { MintError } from '../errors.ts';

/** Its own sockets and its AWS workers take some 30, a login three. */
const needed = 64;

/**
 * An agent serves every terminal of the user: it must not live within the narrow limits of the one that happened to
 * start it, where it would fail for all of them.
 * @throws MintError `agent-unavailable`
 */
export function requireDescriptors(): void {
  const opened: number[] = [];
  try {
    while (opened.length < needed) opened.push(openSync(devNull, 'r'));
  } catch (cause) {
    throw new MintError('agent-unavailable', 'the agent may not open as many files as it needs', {
      hint: 'raise the limit where ssh runs: ulimit -n 1024',
      cause,
    });
  } finally {
    for (const descriptor of opened) closeSync(descriptor);
  }
}
