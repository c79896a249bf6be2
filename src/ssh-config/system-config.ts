import { statSync } from 'node:fs';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { quoteInclude } from './quote.ts';

const isWindows = process.platform === 'win32';
const systemConfig = isWindows
  ? join(process.env['ProgramData'] ?? 'C:\\ProgramData', 'ssh', 'ssh_config')
  : '/etc/ssh/ssh_config';

/**
 * The lines that bring in what ssh reads by itself, for the use behind `-F`, with which it reads nothing
 * else: the user's config (unless left out), then the system's. ssh takes what it includes only from the
 * user or root and with no one else's right to write, and ends otherwise; by itself it reads the system's
 * without that check, so a system's file that would fail it (in some containers) is left out.
 */
export function includeTheirConfigs(options: { readonly user: boolean }): string {
  const files = options.user ? [join(userInfo().homedir, '.ssh', 'config')] : [];
  if (isIncludable(systemConfig)) files.push(systemConfig);
  return `Host *\n${files.map((file) => `    Include ${quoteInclude(file)}\n`).join('')}`;
}

function isIncludable(path: string): boolean {
  const found = statSync(path, { throwIfNoEntry: false });
  if (found === undefined) return false;
  // No mode or owner tells there; as it comes from Microsoft, administrators alone may write to it.
  if (isWindows) return found.isFile();
  return (found.uid === 0 || found.uid === process.getuid?.()) && (found.mode & 0o022) === 0;
}
