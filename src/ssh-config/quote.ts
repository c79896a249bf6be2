import { MintError } from '../errors.ts';

/**
 * An absolute path as a value of ssh_config: in double quotes, `%` doubled because most values that are
 * paths expand tokens. The same form serves inside ProxyCommand, which the user's shell reads as well: what
 * is special to a shell inside double quotes is refused. Throws `ssh-config-unsafe`.
 */
export function quotePath(path: string, platform = process.platform): string {
  return `"${checkPath(path, platform).replaceAll('%', '%%')}"`;
}

/**
 * The program as the first word of ProxyCommand. OpenSSH for Windows runs that without a shell, by CreateProcess, and
 * older ones (8.1 among them, which Windows 10 came with) put it in quotation marks whole before they try it as it is:
 * with one at its beginning that is an error of another kind, and they give up. So there is none without need.
 */
export function quoteProgram(path: string, platform = process.platform): string {
  const quoted = quotePath(path, platform);
  return platform === 'win32' && /^"[\p{L}\p{N}_.:/+~-]+"$/u.test(quoted) ? quoted.slice(1, -1) : quoted;
}

/**
 * An absolute path as the value of Include, which is a glob(7) pattern: its special characters are escaped.
 * Whether Include expands `%` depends on the version of OpenSSH, so `%` is written as a bracket expression
 * that is neither a token nor an escape and matches it everywhere.
 */
export function quoteInclude(path: string, platform = process.platform): string {
  // There a backslash is no escape in a pattern but parts a path.
  if (platform === 'win32') return `"${checkPath(path, platform, specialInPattern)}"`;
  return `"${checkPath(path, platform)
    .replace(/[*?[\]]/g, '\\$&')
    .replaceAll('%', '[$-&]')}"`;
}

/**
 * Any text as a word of ProxyCommand, for the shell that reads it; on Windows there is none, and the program takes its
 * command line apart as Microsoft's C runtime does. Throws `ssh-config-unsafe` there for what that cannot carry.
 */
export function quoteWord(word: string, platform = process.platform): string {
  const plain = word.replaceAll('%', '%%');
  if (platform !== 'win32') return `'${plain.replaceAll("'", "'\\''")}'`;
  if (!/["\p{Cc}]|\\$/u.test(word)) return `"${plain}"`;
  throw new MintError('ssh-config-unsafe', `${JSON.stringify(word)} cannot stand in an ssh config`, {
    hint: 'use a name without " and without \\ at its end',
  });
}

/** Whether a path can be written at all. */
export function isWritablePath(path: string, platform = process.platform): boolean {
  const plain = slashed(path, platform);
  return isAbsolute(plain, platform) && !special.test(plain);
}

const special = /[$`\\"\p{Cc}\p{Zl}\p{Zp}]/u;
const specialInPattern = /[$`\\"%*?[\]\p{Cc}\p{Zl}\p{Zp}]/u;

function checkPath(given: string, platform: NodeJS.Platform, refused = special): string {
  const path = slashed(given, platform);
  const found = refused.exec(path);
  if (found === null && isAbsolute(path, platform)) return path;
  const what = found === null ? 'it is not absolute' : `it has ${nameOf(found[0])}`;
  throw new MintError('ssh-config-unsafe', `${JSON.stringify(path)} cannot stand in an ssh config: ${what}`, {
    hint: 'keep the program and its directory where the path has no $, `, \\, " or control character: --config-dir DIR',
  });
}

/**
 * ssh_config's parser takes a backslash for an escape from OpenSSH 8.7 on and for itself before; Windows takes slashes
 * for backslashes in every path, the names of pipes among them: `//./pipe/NAME`.
 */
function slashed(path: string, platform: NodeJS.Platform): string {
  return platform === 'win32' ? path.replaceAll('\\', '/') : path;
}

function isAbsolute(path: string, platform: NodeJS.Platform): boolean {
  return platform === 'win32' ? /^(?:[A-Za-z]:\/|\/\/)/.test(path) : path.startsWith('/');
}

function nameOf(character: string): string {
  return /\p{Cc}|\p{Zl}|\p{Zp}/u.test(character) ? 'a control character' : `a ${character}`;
}
