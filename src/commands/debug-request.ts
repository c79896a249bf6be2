/** What the words of `mint-ssh debug` share. */

import type { AwsAccess } from '../ci/destruction.ts';
import type { Invocation } from '../cli/command.ts';
import { MintError } from '../errors.ts';
import type { Paths } from '../platform/paths.ts';
import type { Settings } from '../settings/settings.ts';
import { awsAccess, type OpenedStore, openStore } from './debug-options.ts';

export const debugUsage = 'debug [open NAME --project P | list | end ID | reap | leases init]';

export interface DebugWords extends Invocation {
  readonly paths: Paths;
  readonly settings: Settings;
  /** Behind the first. */
  readonly words: readonly string[];
}

export function debugMisused(message: string): MintError {
  return new MintError('usage', message, { hint: `usage: mint-ssh ${debugUsage}` });
}

/** @param at whose region and profile count */
export async function withStore<T>(
  {
    paths,
    values,
    at,
  }: Pick<DebugWords, 'paths' | 'values'> & { readonly at: Parameters<typeof awsAccess>[0] },
  action: (opened: OpenedStore, access: AwsAccess) => Promise<T>,
): Promise<T> {
  const access = awsAccess(at);
  try {
    return await action(openStore(values, paths, access), access);
  } finally {
    await access.aws.close();
  }
}
