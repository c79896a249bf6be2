/** What the words of `mint-ssh job` share. */
import type { Invocation } from '../cli/command.ts';
import { MintError } from '../errors.ts';
import type { Paths } from '../platform/paths.ts';

export const jobUsage = 'job [begin NAME | set NAME --host H | run NAME -- CMD… | end NAME | list]';

export interface JobRequest extends Invocation {
  readonly paths: Paths;
  /** As `vmName` gave it. */
  readonly name: string;
}

export function jobMisused(message: string): MintError {
  return new MintError('usage', message, { hint: `usage: mint-ssh ${jobUsage}` });
}
