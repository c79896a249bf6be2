/** Runs `mint-ssh keys` from its sources in a temporary directory, and reads the files there. */
import { chmodSync, lstatSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { type Child, type Result, startChild } from '../../openssh/child.ts';
import { ownDirectory } from '../../platform/directory.ts';

export const mainProgram = join(import.meta.dirname, '../../../src/main.ts');

export interface Place {
  readonly directory: string;
  readonly store: string;
  readonly env: Readonly<Record<string, string>>;
  /** A file in the test's directory, 0600 unless told; gives its path. */
  file(name: string, content: string | Buffer, mode?: number): string;
  /** Passphrases are answered with these lines, one after the other. */
  keys(words: readonly string[], passphrases?: readonly string[]): Promise<Result>;
  start(words: readonly string[], env?: Readonly<Record<string, string>>): Child;
}

export function keysPlace(context: TestContext): Place {
  const directory = ownDirectory(context);
  const home = join(directory, 'home');
  mkdirSync(home, { mode: 0o700 });
  const env = {
    PATH: process.env['PATH'] ?? '',
    HOME: home,
    MINT_CONFIG_DIR: join(directory, 'config'),
    // The program is started many times over.
    NODE_COMPILE_CACHE: ownDirectory(context),
  };
  const start: Place['start'] = (words, more = {}) =>
    startChild(process.execPath, [mainProgram, 'keys', ...words], { ...env, ...more }, { timeout: 120_000 });
  return {
    directory,
    store: join(directory, 'config', 'keys'),
    env,
    file(name, content, mode = 0o600) {
      const path = join(directory, name);
      writeFileSync(path, content, { mode });
      chmodSync(path, mode);
      return path;
    },
    keys: (words, passphrases) =>
      start(words, passphrases === undefined ? {} : askpass(directory, passphrases)).done,
    start,
  };
}

/** An askpass program that says one line of its file for each time it is asked. */
function askpass(directory: string, lines: readonly string[]): Record<string, string> {
  const [program, answers] = [join(directory, 'askpass'), join(directory, 'answers')];
  writeFileSync(answers, `${lines.join('\n')}\n`, { mode: 0o600 });
  writeFileSync(program, `#!/bin/sh\nsed -n 1p '${answers}'\nsed -i 1d '${answers}'\n`, { mode: 0o700 });
  return { SSH_ASKPASS: program, SSH_ASKPASS_REQUIRE: 'force' };
}

/** Every file below a directory with its mode and its bytes; what is only the lock does not count. */
export function snapshot(directory: string): Record<string, string> {
  const files: Record<string, string> = {};
  for (const name of readDirectory(directory)) {
    const path = join(directory, name);
    const { mode } = lstatSync(path);
    if (name.endsWith('.lock')) continue;
    if (lstatSync(path).isFile()) files[name] = `${mode.toString(8)} ${readFileSync(path, 'base64')}`;
  }
  return files;
}

export function readDirectory(directory: string): string[] {
  try {
    return readdirSync(directory, { recursive: true, encoding: 'utf8' }).sort();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}
