/**
 * What every part of the agent may use, as one plain value. This file imports no part of the agent, so any part can
 * import it without a circle.
 */
import { appendFileSync, renameSync, statSync } from 'node:fs';
import type { Aws } from '../aws/aws.ts';
import { printable } from '../cli/terminal.ts';
import type { Paths } from '../platform/paths.ts';
import type { TrustStore } from '../trust/store.ts';
import type { LastAddresses } from '../vms/last-address.ts';
import type { Names } from '../vms/names.ts';

export interface AgentContext {
  readonly paths: Paths;
  readonly log: Log;
  readonly aws: Aws;
  readonly trust: TrustStore;
  readonly names: Names;
  readonly lastAddresses: LastAddresses;
}

/** Writes one line to `run/agent.log`. No line may hold a secret. */
export type Log = (line: string) => void;

const maxLogBytes = 1024 * 1024;

/**
 * @param path of the log file; beyond 1 MiB it is renamed to `PATH.1`
 * @returns never throws: a login must not fail because the log cannot be written
 */
export function openLog(path: string): Log {
  return (line) => {
    try {
      if ((statSync(path, { throwIfNoEntry: false })?.size ?? 0) > maxLogBytes) renameSync(path, `${path}.1`);
      appendFileSync(path, `${new Date().toISOString()} [${process.pid}] ${printable(line)}\n`, {
        mode: 0o600,
      });
    } catch {
      // The disk is full or the directory is gone.
    }
  };
}
