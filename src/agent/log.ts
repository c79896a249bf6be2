/** `run/agent.log`: what the agent did, for the person who looks for a reason. No secrets, one line each. */
import { appendFileSync, renameSync, statSync } from 'node:fs';
import { printable } from '../cli/terminal.ts';

const sizeLimit = 1024 * 1024;

export type Log = (line: string) => void;

/** A log that cannot be written is no reason to refuse a login. */
export function openLog(path: string): Log {
  return (line) => {
    try {
      if ((statSync(path, { throwIfNoEntry: false })?.size ?? 0) > sizeLimit) renameSync(path, `${path}.1`);
      appendFileSync(path, `${new Date().toISOString()} [${process.pid}] ${printable(line)}\n`, {
        mode: 0o600,
      });
    } catch {
      // The disk is full or the directory gone.
    }
  };
}
