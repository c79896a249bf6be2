import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/**
 * `run_dir` as `ssh.toml` has it, found without a TOML parser: the proxy needs this one setting, and its
 * start must not load one. Only a plain string on a line of its own above the first table counts; the
 * settings proper refuse a `run_dir` that is written in any other way, so the two never disagree.
 */
export function configuredRunDir(sshToml: string, home: string): string | undefined {
  let text: string;
  try {
    text = readFileSync(sshToml, 'utf8');
  } catch {
    // Missing or unreadable: whoever loads the settings says so.
    return undefined;
  }
  return findRunDir(text, home);
}

/** The same for the text of the file; `~/` stands for the home directory. */
export function findRunDir(text: string, home: string): string | undefined {
  const top = text.split(/^[ \t]*\[/m, 1)[0] ?? '';
  const found = /^\uFEFF?[ \t]*run_dir[ \t]*=[ \t]*(?:"([^"\\\r\n]+)"|'([^'\r\n]+)')/m.exec(top);
  const path = found?.[1] ?? found?.[2];
  if (path === undefined) return undefined;
  return path.startsWith('~/') ? join(home, path.slice(2)) : path;
}
