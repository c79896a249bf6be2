/** Which host names an ssh config names, so that ssh has to be asked about few of them. */
import { globSync, readFileSync, statSync } from 'node:fs';
import { userInfo } from 'node:os';
import { isAbsolute, join } from 'node:path';

const maxDepth = 8;
const maxFiles = 200;
const maxFileBytes = 4_000_000;

export interface MentionedHosts {
  /** Whether a pattern of a `Host` line, or of `Match host`, other than a bare `*` fits the name; also a negated one. */
  mentions(name: string): boolean;
  /** Whether something else may set values for some names only: `Match exec`, or an Include that cannot be followed. */
  readonly isUncertain: boolean;
}

/** Reads the files and what they include, as ssh_config(5) has it. */
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
    const [, keyword = '', value = ''] = /^\s*"?(\w+)"?(?:\s*=\s*|\s+)(.*?)\s*$/.exec(line) ?? [];
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

/** `unread` where the file is there and too large. */
function readText(file: string): string | undefined {
  const found = statSync(file, { throwIfNoEntry: false });
  if (!found?.isFile()) return undefined;
  if (found.size > maxFileBytes) return 'unread';
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

/** A pattern in lower case; what a negated one leaves out it names as well. */
function plain(pattern: string): string {
  return pattern.replace(/^!/, '').toLowerCase();
}

/** ssh looks for a relative path in `~/.ssh`. Undefined for a path with a variable, a token or another user's home. */
function included(word: string): string[] | undefined {
  const home = userInfo().homedir;
  const path = word.replace(/^(?:~|%d|\$\{HOME\})(?=\/)/, home);
  if (/^~|%|\$/.test(path)) return undefined;
  // Without `cwd` globSync asks for the working directory, which may have been removed.
  return globSync(isAbsolute(path) ? path : join(home, '.ssh', path), { cwd: '/' });
}

/** A pattern of ssh_config(5) or known_hosts, in lower case: `*` and `?` are special. */
export function patternExpression(pattern: string): RegExp {
  const source = pattern
    .replace(/[$()+./[\\\]^{|}]/g, '\\$&')
    .replaceAll('*', '.*')
    .replaceAll('?', '.');
  return new RegExp(`^${source}$`);
}
