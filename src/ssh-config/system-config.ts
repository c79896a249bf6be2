import { statSync } from 'node:fs';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { system } from '../platform/system/system.ts';
import { quoteInclude } from './quote.ts';
import { systemConfigPath } from './ssh-client.ts';

/**
 * With `-F`, ssh reads only that file, so the file has to include the user's and the system's configs. ssh exits if an
 * included file belongs to neither the user nor root, or if others can write to it. It does not check the system's
 * config if it reads that by default. So a system's config that fails this check, as in some containers, is left out.
 *
 * @param options whether to include the user's config too
 * @returns Include lines for a file for `-F`
 */
export async function includeUserAndSystem(options: { readonly user: boolean }): Promise<string> {
  const files = options.user ? [join(userInfo().homedir, '.ssh', 'config')] : [];
  const system = await systemConfigPath();
  if (system !== undefined && isIncludable(system)) files.push(system);
  return `Host *\n${files.map((file) => `    Include ${quoteInclude(file)}\n`).join('')}`;
}

function isIncludable(path: string): boolean {
  const found = statSync(path, { throwIfNoEntry: false });
  if (found === undefined) return false;
  // Windows has no mode or owner here; by Microsoft's defaults only administrators can write to the file.
  if (!system.hasModes) return found.isFile();
  return (found.uid === 0 || found.uid === process.getuid?.()) && (found.mode & 0o022) === 0;
}
