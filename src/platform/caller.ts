/** The process on whose behalf the agent acts: its AWS settings, and a key that identifies them. */
import { createHash } from 'node:crypto';
import { homedir } from 'node:os';
import { isAbsolute, join, resolve } from 'node:path';
import { system } from './system/system.ts';

/** Variables with AWS settings, their files and network, and the store of managed keys. */
const settings =
  /^(?:AWS_\w+|MINT_KEYS_DIR|HOME|USERPROFILE|(?:https?|no|all)_proxy|(?:HTTPS?|NO|ALL)_PROXY|NODE_EXTRA_CA_CERTS)$/;

/** Variables with paths, which may be relative to the working directory. */
const paths = ['AWS_CONFIG_FILE', 'AWS_SHARED_CREDENTIALS_FILE', 'AWS_CA_BUNDLE', 'NODE_EXTRA_CA_CERTS'];

/** Variables that differ between terminals of one user and do not affect credentials. */
const ofTheTerminal =
  /^(?:_|PWD|OLDPWD|SHLVL|COLUMNS|LINES|TERM\w*|COLORTERM|WINDOW\w*|TMUX\w*|STY|DISPLAY|XAUTHORITY|WAYLAND_\w+|XDG_\w+|SSH_\w+|GPG_TTY|VSCODE_\w+|GIT_\w+|RSYNC_\w+|ITERM_\w+|KITTY_\w+|VTE_\w+|LS_COLORS|LC_\w+|LANG\w*|INVOCATION_ID|JOURNAL_STREAM)$/;

/** The process that a request comes from. */
export interface Caller {
  /** From `callerEnvironment`. */
  readonly environment: Readonly<Record<string, string>>;
  /** From `sessionKey`; undefined if only the environment counts. */
  readonly session?: string | undefined;
  /** Lets the agent resolve credentials in a process of the caller. */
  readonly resolver?: CredentialResolver | undefined;
}

/** The proxy of one login, which can start `mint-ssh credentials` in its caller's environment. */
export interface CredentialResolver {
  /** False once the login no longer needs AWS: then the user is not prompted. */
  readonly isAvailable: boolean;
  /** @param id names the result that the agent waits for */
  resolve(
    id: string,
    target: { readonly profile?: string | undefined; readonly region?: string | undefined },
  ): void;
  /** @param line for the user; undefined if the proxy only has to keep waiting */
  tell(line: string | undefined): void;
}

/** @returns this process as a caller */
export function thisCaller(environment: NodeJS.ProcessEnv = process.env): Caller {
  return { environment: callerEnvironment(environment), session: sessionKey(environment) };
}

/** The variables that the agent needs in order to act with the caller's AWS settings and no others. */
export function callerEnvironment(environment: NodeJS.ProcessEnv): Record<string, string> {
  const kept: Record<string, string> = {};
  for (const [name, value] of Object.entries(environment)) {
    const known = system.variableName(name);
    if (value !== undefined && settings.test(known)) kept[known] = value;
  }
  for (const name of paths) {
    const value = kept[name];
    if (value !== undefined && value !== '') kept[name] = absolute(value, kept['HOME']);
  }
  return kept;
}

/**
 * Identifies a shell for a credential_process, which may depend on any variable and on the working directory. The key is
 * two hashes of 53 bits each. They are not cryptographic, so that the proxy need not load a library; the key authorizes
 * nothing.
 */
export function sessionKey(environment: NodeJS.ProcessEnv, directory: string = process.cwd()): string {
  const entries = Object.entries(environment).filter(([name]) => !ofTheTerminal.test(name));
  const text = JSON.stringify([directory, ...entries.sort(([one], [other]) => (one < other ? -1 : 1))]);
  return `${hash(text, 1)}-${hash(text, 2)}`;
}

/** @returns a key that identifies the AWS settings without revealing them */
export function environmentKey(environment: Readonly<Record<string, string>>): string {
  const sorted = Object.entries(environment).sort(([one], [other]) => (one < other ? -1 : 1));
  return createHash('sha256').update(JSON.stringify(sorted)).digest('base64url');
}

function absolute(path: string, home = homedir()): string {
  if (path === '~' || path.startsWith('~/')) return join(home, path.slice(1));
  return isAbsolute(path) ? path : resolve(path);
}

/** cyrb53: https://github.com/bryc/code/blob/master/jshash/experimental/cyrb53.js, in the public domain. */
function hash(text: string, seed: number): string {
  let high = 0xdeadbeef ^ seed;
  let low = 0x41c6ce57 ^ seed;
  for (let index = 0; index < text.length; index += 1) {
    const code = text.charCodeAt(index);
    high = Math.imul(high ^ code, 2654435761);
    low = Math.imul(low ^ code, 1597334677);
  }
  high = Math.imul(high ^ (high >>> 16), 2246822507) ^ Math.imul(low ^ (low >>> 13), 3266489909);
  low = Math.imul(low ^ (low >>> 16), 2246822507) ^ Math.imul(high ^ (high >>> 13), 3266489909);
  return (4294967296 * (2097151 & low) + (high >>> 0)).toString(36);
}
