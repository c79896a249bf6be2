import { readFileSync, statSync } from 'node:fs';
import { userInfo } from 'node:os';
import { dirname, join } from 'node:path';
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
  const user = options.user
    ? `    Include ${quoteInclude(join(userInfo().homedir, '.ssh', 'config'))}\n`
    : '';
  const file = await systemConfigPath();
  return `Host *\n${user}${file !== undefined && isIncludable(file) ? systemLines(file) : ''}`;
}

/** An Include line: its keyword, and its paths. */
const includeLine = /^(\s*"?include"?(?:\s*=\s*|\s+))(.+)$/gim;
const path = /"[^"]*"|'[^']*'|\S+/g;

/**
 * ssh looks for a relative path of the system's config in the directory of that config, but in `~/.ssh` if it got the config
 * through `-F`. So a config with such a path is copied, with absolute paths.
 */
function systemLines(file: string): string {
  const include = `    Include ${quoteInclude(file)}\n`;
  const text = readFileSync(file, 'utf8');
  const copy = text.replace(
    includeLine,
    (_, keyword: string, paths: string) =>
      keyword + paths.replace(path, (word) => absolute(word, dirname(file))),
  );
  return copy === text ? include : `${copy}\n`;
}

function absolute(word: string, directory: string): string {
  return word.replace(/^(["']?)(?=[^"'/~#])/, `$1${directory}/`);
}

function isIncludable(path: string): boolean {
  const found = statSync(path, { throwIfNoEntry: false });
  if (found === undefined) return false;
  // Windows has no mode or owner here; by Microsoft's defaults only administrators can write to the file.
  if (!system.hasModes) return found.isFile();
  return (found.uid === 0 || found.uid === process.getuid?.()) && (found.mode & 0o022) === 0;
}
