/** The input of the checks: this machine's setup, or one VM. */
import type { GlobalOptions } from '../cli/command.ts';
import type { Paths } from '../platform/paths.ts';
import type { VmSettings } from '../settings/settings.ts';
import type { LocatedVm } from '../vms/located-vm.ts';

/** The whole of mint-ssh on this machine. */
export interface Case {
  readonly paths: Paths;
  readonly globals: GlobalOptions;
  readonly environment: NodeJS.ProcessEnv;
  /** The ssh config that has the Include, where it is not `~/.ssh/config`. */
  readonly sshConfigFile: string | undefined;
  /** `upstream_agent` at the top of ssh.toml. */
  readonly upstreamAgent: string | undefined;
  /** Those of ssh.toml that can be used. */
  readonly vms: readonly VmSettings[];
  /** What holds for VMs that ssh.toml does not name; undefined where it cannot be read. */
  readonly others: VmSettings | undefined;
  /** What AWS showed last of those, by name. */
  readonly discovered: ReadonlyMap<string, LocatedVm>;
}

/** One VM of it. */
export interface VmCase extends Case {
  readonly vm: VmSettings;
  /** What the proxy is told beside the name. */
  readonly proxyOptions: readonly string[];
}

/** The same promise for every check that needs the answer. */
export function once<T>(ask: () => Promise<T>): () => Promise<T> {
  let answer: Promise<T> | undefined;
  return () => {
    answer ??= ask();
    // Callers get the failure; without callers it is not an unhandled rejection.
    answer.catch(() => {});
    return answer;
  };
}

/** The result of the login that `doctor VM` tries. */
export interface Login {
  readonly status: number | null;
  /** Why no login was tried; undefined where one was. */
  readonly skipped?: string | undefined;
  /** Of the error that mint-ssh gave, where it did. */
  readonly code: string | undefined;
  readonly message: string;
  readonly hint: string | undefined;
  readonly milliseconds: number;
}
