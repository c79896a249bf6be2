/** Finds the user's ssh config that includes our blocks. While it does, we may update the blocks without asking. */

import type { Paths } from '../platform/paths.ts';
import { writtenNames } from '../settings/approved-names.ts';
import { inspectInclude } from './include.ts';
import { quoteInclude } from './quote.ts';
import { readUserConfig, type UserConfig, userConfigPath } from './user-config.ts';

export interface IncludingConfig {
  readonly userConfig: UserConfig;
  /** Whether ssh reads the system's config after it. It does not if it is called with `-F`. */
  readonly withSystem: boolean;
}

/** @returns the config as it is now; undefined if the Include was never approved, or was removed */
export function includingConfig(paths: Paths): IncludingConfig | undefined {
  const path = writtenNames(paths).includedFrom;
  if (path === undefined) return undefined;
  const userConfig = readUserConfig(path);
  if (!inspectInclude(userConfig.bytes, quoteInclude(paths.sshConfig), paths.sshConfig).inPlace)
    return undefined;
  return { userConfig, withSystem: userConfig.path === standardPath() };
}

function standardPath(): string | undefined {
  try {
    return userConfigPath(undefined);
  } catch {
    // HOME differs from the home directory that ssh uses.
    return undefined;
  }
}
