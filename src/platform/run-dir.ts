import { readFileSync } from 'node:fs';

/**
 * Reads `run_dir` of ssh.toml for every part of the program. The proxy must not load a TOML parser, so only one form
 * counts: a plain string on a line of its own above the first table. The settings refuse every other form.
 *
 * @param sshToml the path of the file
 * @returns undefined if the file is missing, unreadable or has no `run_dir`
 */
export function configuredRunDir(sshToml: string): string | undefined {
  let text: string;
  try {
    text = readFileSync(sshToml, 'utf8');
  } catch {
    // The agent reports it when it loads the settings.
    return undefined;
  }
  return findRunDir(text);
}

/** @returns `run_dir` as it is written in the text of ssh.toml, which may begin with `~/` */
export function findRunDir(text: string): string | undefined {
  const top = text.split(/^[ \t]*\[/m, 1)[0] ?? '';
  const found = /^\uFEFF?[ \t]*run_dir[ \t]*=[ \t]*(?:"([^"\\\r\n]+)"|'([^'\r\n]+)')/m.exec(top);
  return found?.[1] ?? found?.[2];
}
