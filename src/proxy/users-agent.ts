import { readFileSync } from 'node:fs';
import { isOurs } from '../agent/upstream.ts';

/**
 * Where the agent of the user who runs ssh is, by `SSH_AUTH_SOCK`. Up to OpenSSH 10.4 the proxy's is the
 * user's own. From 10.5 on ssh has put the IdentityAgent there, our own socket, before it starts the proxy;
 * what ssh itself was started with still stands in /proc, where there is one.
 */
export function usersAgent(
  runDirectory: string,
  environment: NodeJS.ProcessEnv = process.env,
  parent: number = process.ppid,
): string | undefined {
  const own = environment['SSH_AUTH_SOCK'];
  if (!own || !isOurs(own, runDirectory)) return own || undefined;
  const before = firstEnvironment(parent)['SSH_AUTH_SOCK'];
  return before && !isOurs(before, runDirectory) ? before : undefined;
}

/** The environment a process was started with, whatever it has changed since; empty where nobody tells. */
function firstEnvironment(pid: number): Readonly<Record<string, string>> {
  try {
    const lines = readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0');
    return Object.fromEntries(
      lines.map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]),
    );
  } catch {
    return {};
  }
}
