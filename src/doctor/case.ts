/** What the checks are about. */
import type { GlobalOptions } from '../cli/command.ts';
import type { Paths } from '../config/paths.ts';
import type { VmSettings } from '../config/settings.ts';

/** The whole of mint-ssh on this machine. */
export interface Case {
  readonly paths: Paths;
  readonly globals: GlobalOptions;
  readonly environment: NodeJS.ProcessEnv;
  /** The ssh config that has the Include, where it is not `~/.ssh/config`. */
  readonly sshConfigFile: string | undefined;
  /** `upstream_agent` at the top of ssh.toml. */
  readonly upstreamAgent: string | undefined;
  /** All that can be used. */
  readonly vms: readonly VmSettings[];
}

/** One VM of it. */
export interface VmCase extends Case {
  readonly vm: VmSettings;
}

/** The same promise for every check that needs the answer. */
export function once<T>(ask: () => Promise<T>): () => Promise<T> {
  let answer: Promise<T> | undefined;
  return () => {
    answer ??= ask();
    // Who asks gets the failure; nobody has to ask.
    answer.catch(() => {});
    return answer;
  };
}
