/** The user's ssh config as long as it brings our blocks in: then they may be kept up to date without a question. */

import type { Paths } from '../platform/paths.ts';
import { writtenNames } from '../settings/approved-names.ts';
import { inspectInclude } from './include.ts';
import { quoteInclude } from './quote.ts';
import { readUserConfig, type UserConfig, userConfigPath } from './user-config.ts';

export interface IncludingConfig {
  readonly userConfig: UserConfig;
  /** Whether ssh reads the system's config behind it, as it does unless it is given a file. */
  readonly withSystem: boolean;
}

/** As it is now; undefined where the Include was never approved, or is no longer there. */
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
    // HOME is another than ssh's.
    return undefined;
  }
}
