/** Which host names an ssh config has something to say about, so that ssh is asked about those only. */
import { globSync, readFileSync, statSync } from 'node:fs';
import { userInfo } from 'node:os';
import { isAbsolute, join } from 'node:path';

const deepest = 8;
const mostFiles = 200;
const mostBytes = 4_000_000;

/**
 * Tells for a name whether a `Host` line other than `Host *` may speak of it. Where that cannot be told (a `Match`,
 * an Include that cannot be followed) it may be any name.
 */
export function spokenHosts(files: readonly string[]): (name: string) => boolean {
  const patterns = new Set<string>();
  let left = mostFiles;
  const read = (file: string, depth: number): boolean => {
    left -= 1;
    if (depth > deepest || left < 0) return false;
    const text = readText(file);
    return text === undefined || text.split('\n').every((line) => readLine(line, depth));
  };
  const readLine = (line: string, depth: number): boolean => {
    const [, keyword = '', value = ''] = /^\s*(\w+)(?:\s*=\s*|\s+)(.*?)\s*$/.exec(line) ?? [];
    if (/^match$/i.test(keyword)) return false;
    if (/^host$/i.test(keyword)) for (const word of words(value)) patterns.add(word.toLowerCase());
    if (!/^include$/i.test(keyword)) return true;
    return words(value).every((word) => included(word).every((file) => read(file, depth + 1)));
  };
  if (!files.every((file) => read(file, 0))) return () => true;
  patterns.delete('*');
  const expressions = [...patterns].map(expression);
  return (name) => expressions.some((one) => one.test(name));
}

function readText(file: string): string | undefined {
  const found = statSync(file, { throwIfNoEntry: false });
  if (!found?.isFile() || found.size > mostBytes) return undefined;
  try {
    return readFileSync(file, 'latin1');
  } catch {
    // Not for us to read, and so not for ssh.
    return undefined;
  }
}

function words(value: string): string[] {
  return (value.match(/"[^"]*"|\S+/g) ?? []).map((word) => word.replaceAll('"', ''));
}

/** ssh looks for a relative one in `~/.ssh`. */
function included(word: string): string[] {
  const home = userInfo().homedir;
  const path = word.startsWith('~/') ? join(home, word.slice(2)) : word;
  // Without `cwd` globSync asks for the working directory, which may have been removed.
  return globSync(isAbsolute(path) ? path : join(home, '.ssh', path), { cwd: '/' });
}

/** What a negated pattern leaves out it speaks of as well. */
function expression(pattern: string): RegExp {
  const source = pattern
    .replace(/^!/, '')
    .replace(/[$()+./[\\\]^{|}]/g, '\\$&')
    .replaceAll('*', '.*')
    .replaceAll('?', '.');
  return new RegExp(`^${source}$`);
}
