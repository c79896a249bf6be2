import { readFileSync } from 'node:fs';
import { isOurs } from '../agent/upstream.ts';

/**
 * Finds the socket of the user's own ssh-agent by `SSH_AUTH_SOCK`. Up to OpenSSH 10.4 the proxy has the variable of
 * the user's shell. From 10.5 on ssh sets it to the IdentityAgent, our own socket, before it starts the proxy; on
 * Linux the environment with which ssh itself was started is still in /proc.
 * @param parent the process id of ssh
 * @returns the path; undefined if there is no agent or it cannot be found
 */
export function userAgentSocket(
  runDirectory: string,
  environment: NodeJS.ProcessEnv = process.env,
  parent: number = process.ppid,
): string | undefined {
  const own = environment['SSH_AUTH_SOCK'];
  if (!own || !isOurs(own, runDirectory)) return own || undefined;
  const before = initialEnvironment(parent)['SSH_AUTH_SOCK'];
  return before && !isOurs(before, runDirectory) ? before : undefined;
}

/** The environment with which a process was started; empty if it cannot be read. */
function initialEnvironment(pid: number): Readonly<Record<string, string>> {
  try {
    const lines = readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0');
    return Object.fromEntries(
      lines.map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]),
    );
  } catch {
    return {};
  }
}
