/** Finds the host names that an ssh config mentions, so that `ssh -G` need not run for the others. */
import { globSync, readFileSync, statSync } from 'node:fs';
import { userInfo } from 'node:os';
import { isAbsolute, join } from 'node:path';

const maxDepth = 8;
const maxFiles = 200;
const maxFileBytes = 4_000_000;

export interface MentionedHosts {
  /** Whether a pattern of a `Host` or `Match host` line, negated or not, matches the name. A bare `*` does not count. */
  mentions(name: string): boolean;
  /** Whether other lines may set values for some names only: `Match exec`, or an Include that cannot be resolved. */
  readonly isUncertain: boolean;
}

/** @param files ssh configs; the files that they include are read too, by the rules of ssh_config(5) */
export function mentionedHosts(files: readonly string[]): MentionedHosts {
  const patterns = new Set<string>();
  let isUncertain = false;
  let filesLeft = maxFiles;
  const read = (file: string, depth: number): void => {
    filesLeft -= 1;
    const text = depth > maxDepth || filesLeft < 0 ? 'unread' : readText(file);
    if (text === 'unread') isUncertain = true;
    else for (const line of text?.split('\n') ?? []) readLine(line, depth);
  };
  const readLine = (line: string, depth: number): void => {
    const [, keyword = '', value = ''] = /^\s*["']?(\w+)["']?(?:\s*=\s*|\s+)(.*?)\s*$/.exec(line) ?? [];
    // Newer versions of ssh also take single quotes and backslashes apart. ssh is asked what it makes of them.
    if (/^(?:host|match|include)$/i.test(keyword) && /['\\]/.test(value)) isUncertain = true;
    switch (keyword.toLowerCase()) {
      case 'host':
        for (const word of words(value)) patterns.add(plain(word));
        break;
      case 'match':
        readMatch(words(value));
        break;
      case 'include':
        for (const word of words(value)) {
          const found = included(word);
          if (found === undefined) isUncertain = true;
          else for (const file of found) read(file, depth + 1);
        }
        break;
    }
  };
  const readMatch = (criteria: readonly string[]): void => {
    for (const [at, word] of criteria.entries()) {
      const [, name = '', attached] = /^!?(\w+)(?:=(.*))?$/.exec(word.toLowerCase()) ?? [];
      if (name === 'exec') isUncertain = true;
      if (name !== 'host' && name !== 'originalhost') continue;
      for (const pattern of (attached ?? criteria[at + 1] ?? '').split(',')) patterns.add(plain(pattern));
    }
  };
  for (const file of files) read(file, 0);
  patterns.delete('*');
  patterns.delete('');
  const expressions = [...patterns].map(patternExpression);
  return { mentions: (name) => expressions.some((one) => one.test(name)), isUncertain };
}

/** @returns `unread` if the file is too large */
function readText(file: string): string | undefined {
  const found = statSync(file, { throwIfNoEntry: false });
  if (!found?.isFile()) return undefined;
  if (found.size > maxFileBytes) return 'unread';
  try {
    return readFileSync(file, 'latin1');
  } catch {
    // If we cannot read it, ssh cannot either.
    return undefined;
  }
}

function words(value: string): string[] {
  return (value.match(/"[^"]*"|\S+/g) ?? []).map((word) => word.replaceAll('"', ''));
}

/** The pattern in lower case, without its negation: a negated pattern mentions names too. */
function plain(pattern: string): string {
  return pattern.replace(/^!/, '').toLowerCase();
}

/**
 * Relative paths start at `~/.ssh`.
 *
 * @returns the included files; undefined for a path with a variable, a token or another user's home
 */
function included(word: string): string[] | undefined {
  const home = userInfo().homedir;
  const path = word.replace(/^(?:~|%d|\$\{HOME\})(?=\/)/, home);
  if (/^~|%|\$/.test(path)) return undefined;
  // Without `cwd`, globSync reads the working directory, which may have been removed.
  return globSync(isAbsolute(path) ? path : join(home, '.ssh', path), { cwd: '/' });
}

/**
 * @param pattern of ssh_config(5) or known_hosts, in lower case; `*` and `?` are special
 * @returns an expression for whole names
 */
export function patternExpression(pattern: string): RegExp {
  const source = pattern
    .replace(/[$()+./[\\\]^{|}]/g, '\\$&')
    .replaceAll('*', '.*')
    .replaceAll('?', '.');
  return new RegExp(`^${source}$`);
}
