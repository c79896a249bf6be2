import { spawn } from 'node:child_process';
import { system } from '../platform/system/system.ts';
import { noSsh } from '../ssh-config/ssh-client.ts';

export interface Outcome {
  readonly status: number | null;
  /** Whether it was killed at the time limit. */
  readonly late: boolean;
  readonly stderr: string;
  readonly milliseconds: number;
}

const outputLimit = 64 * 1024;

/**
 * Runs ssh without a terminal, so that it cannot prompt, and kills it after `limit` milliseconds.
 *
 * @throws MintError `io-failed` if ssh is not installed
 */
export function runSsh(
  words: readonly string[],
  { limit, environment }: { readonly limit: number; readonly environment: NodeJS.ProcessEnv },
): Promise<Outcome> {
  const start = performance.now();
  return new Promise((resolve, reject) => {
    const child = spawn('ssh', words, {
      env: { ...environment, SSH_ASKPASS_REQUIRE: 'never' },
      detached: true,
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let stderr = '';
    child.stderr.on('data', (chunk: Buffer) => {
      if (stderr.length < outputLimit) stderr += chunk.toString('utf8');
    });
    const timer = setTimeout(() => end(), limit);
    let late = false;
    const end = () => {
      late = true;
      endGroup(child.pid);
      // Another process may keep its stderr open. Do not wait for that.
      child.stderr.destroy();
    };
    child.once('error', (error) => {
      clearTimeout(timer);
      reject(noSsh(error));
    });
    child.once('close', (status) => {
      clearTimeout(timer);
      resolve({ status, late, stderr, milliseconds: performance.now() - start });
    });
  });
}

/** Kills ssh and the proxy that it started. */
function endGroup(leader: number | undefined): void {
  try {
    if (leader !== undefined) process.kill(system.processGroup(leader), 'SIGTERM');
  } catch {
    // It has already ended, and another process keeps its stderr open.
  }
}
