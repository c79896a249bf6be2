/** The input of the checks: this machine's setup, or one VM. */
import type { GlobalOptions } from '../cli/command.ts';
import type { Paths } from '../platform/paths.ts';
import type { VmSettings } from '../settings/settings.ts';
import type { LocatedVm } from '../vms/located-vm.ts';

/** The setup of mint-ssh on this machine. */
export interface CheckContext {
  readonly paths: Paths;
  readonly globals: GlobalOptions;
  readonly environment: NodeJS.ProcessEnv;
  /** The ssh config that has the Include, if it is not `~/.ssh/config`. */
  readonly sshConfigFile: string | undefined;
  /** `upstream_agent` at the top of ssh.toml. */
  readonly upstreamAgent: string | undefined;
  /** The valid VMs of ssh.toml. */
  readonly vms: readonly VmSettings[];
  /** The settings for VMs that ssh.toml does not have; undefined if it cannot be read. */
  readonly others: VmSettings | undefined;
  /** Those VMs as AWS last returned them, by name. */
  readonly discovered: ReadonlyMap<string, LocatedVm>;
}

/** One VM of the setup. */
export interface VmContext extends CheckContext {
  readonly vm: VmSettings;
  /** The options of the proxy beside the name. */
  readonly proxyOptions: readonly string[];
}

/** @returns a function that calls `ask` at most once, and returns the same promise each time */
export function once<T>(ask: () => Promise<T>): () => Promise<T> {
  let answer: Promise<T> | undefined;
  return () => {
    answer ??= ask();
    // The callers handle a failure. Without callers it must not be an unhandled rejection.
    answer.catch(() => {});
    return answer;
  };
}

/** The result of the login that `doctor VM` tries. */
export interface Login {
  readonly status: number | null;
  /** Why no login was tried; undefined if one was. */
  readonly skipped?: string | undefined;
  /** The error code, if mint-ssh printed one. */
  readonly code: string | undefined;
  readonly message: string;
  readonly hint: string | undefined;
  readonly milliseconds: number;
}
