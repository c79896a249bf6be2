import { execFile } from 'node:child_process';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { MintError } from '../errors.ts';
import { system } from '../platform/system/system.ts';

/** The output of `ssh -G`: keywords in lower case, each with its values in order. */
export type EffectiveConfig = ReadonlyMap<string, readonly string[]>;

interface Outcome {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

const milliseconds = 10_000;

/**
 * Runs `ssh -G`, which makes no connection.
 *
 * @param configFile for `-F`; without it, ssh reads the user's and the system's config
 * @returns the values that ssh would use for this host name
 * @throws MintError `io-failed` with ssh's message if it refuses the config, or if there is no ssh
 */
export async function effectiveConfig(host: string, configFile?: string): Promise<EffectiveConfig> {
  const { status, stdout, stderr } = await runSsh([
    ...(configFile ? ['-F', configFile] : []),
    '-G',
    '--',
    host,
  ]);
  if (status !== 0) {
    throw new MintError('io-failed', `ssh refuses its config: ${firstLine(stderr)}`, {
      hint: 'fix that line first: ssh does not work until then',
    });
  }
  const found = new Map<string, string[]>();
  for (const line of stdout.split(/\r?\n/)) {
    const [keyword = '', ...rest] = line.split(' ');
    if (keyword === '') continue;
    const values = found.get(keyword);
    if (values === undefined) found.set(keyword, [rest.join(' ')]);
    else values.push(rest.join(' '));
  }
  return found;
}

/**
 * Finds the system's config file of this machine's ssh. The directory depends on the build: /etc/ssh, /usr/local/etc,
 * or the prefix of Homebrew or conda.
 *
 * @returns its path; undefined if it does not exist, or cannot be found
 */
export async function systemConfigPath(): Promise<string | undefined> {
  const { stderr } = await runSsh(['-vvv', '-G', 'localhost']);
  const read = [...stderr.matchAll(/^debug1: Reading configuration data (.+?)\r?$/gm)].map(
    ([, path]) => path,
  );
  const included = new Set([...stderr.matchAll(/: Including file (.+?) depth \d/gm)].map(([, path]) => path));
  const own = join(userInfo().homedir, '.ssh', 'config');
  return read.find((path) => path !== undefined && path !== own && !included.has(path));
}

/**
 * Calls `ask` for each host, a few at a time, because each call starts a process.
 *
 * @returns the results by host
 */
export async function forEachHost<T>(
  hosts: readonly string[],
  ask: (host: string) => Promise<T>,
): Promise<Map<string, T>> {
  const answers = new Map<string, T>();
  for (let at = 0; at < hosts.length; at += 4) {
    const few = hosts.slice(at, at + 4);
    for (const [index, answer] of (await Promise.all(few.map(ask))).entries()) {
      answers.set(few[index] ?? '', answer);
    }
  }
  return answers;
}

function runSsh(words: readonly string[]): Promise<Outcome> {
  const options = { timeout: milliseconds, maxBuffer: 1 << 22, encoding: 'utf8' } as const;
  return new Promise((resolve, reject) => {
    const child = execFile('ssh', words, options, (error, stdout, stderr) => {
      if (error === null) resolve({ status: 0, stdout, stderr });
      else if (typeof error.code === 'number') resolve({ status: error.code, stdout, stderr });
      else reject(notStarted(error));
    });
    // A `Match exec` in the user's config must not wait for our stdin.
    child.stdin?.end();
  });
}

function notStarted(cause: Error & { code?: unknown; killed?: boolean | undefined }): MintError {
  if (cause.code === 'ENOENT') return noSsh(cause);
  const what = cause.killed ? `did not answer within ${milliseconds / 1000} s` : 'could not be run';
  return new MintError('io-failed', `ssh -G ${what}`, {
    cause,
    hint: 'try `ssh -G localhost`; a `Match exec` in your ssh config may hang',
  });
}

/** @returns the error for a machine without ssh */
export function noSsh(cause: unknown): MintError {
  return new MintError('io-failed', 'there is no ssh on this machine', {
    cause,
    hint: system.installSshHint,
  });
}

function firstLine(text: string): string {
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('Pseudo-terminal'));
  return lines[0]?.trim() ?? 'it gave no reason';
}
