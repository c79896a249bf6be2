import { statSync } from 'node:fs';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { quoteInclude } from './quote.ts';
import { systemConfigPath } from './ssh-client.ts';

const isWindows = process.platform === 'win32';

/**
 * For a file that ssh gets with `-F`, because ssh then reads nothing else: the lines that include the user's config
 * (unless left out) and the system's. ssh includes a file only if it belongs to the user or root and no one else can
 * write to it, and exits otherwise; by itself it reads the system's config without that check. So a system's config
 * that fails the check, as in some containers, is left out.
 */
export async function includeTheirConfigs(options: { readonly user: boolean }): Promise<string> {
  const files = options.user ? [join(userInfo().homedir, '.ssh', 'config')] : [];
  const system = await systemConfigPath();
  if (system !== undefined && isIncludable(system)) files.push(system);
  return `Host *\n${files.map((file) => `    Include ${quoteInclude(file)}\n`).join('')}`;
}

function isIncludable(path: string): boolean {
  const found = statSync(path, { throwIfNoEntry: false });
  if (found === undefined) return false;
  // Mode and owner mean nothing there; by Microsoft's defaults only administrators may write to it.
  if (isWindows) return found.isFile();
  return (found.uid === 0 || found.uid === process.getuid?.()) && (found.mode & 0o022) === 0;
}
