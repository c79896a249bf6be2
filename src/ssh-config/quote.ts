import { MintError } from '../errors.ts';
import { system } from '../platform/system/system.ts';

/**
 * Quotes an absolute path as a value of ssh_config, or as a word of ProxyCommand, which the user's shell reads too. `%`
 * is doubled, because most keywords with paths expand tokens.
 *
 * @throws MintError `ssh-config-unsafe` for a character that is special to a shell inside double quotes
 */
export function quotePath(path: string, platform = system.name): string {
  return `"${checkPath(path, platform).replaceAll('%', '%%')}"`;
}

/**
 * Quotes the program as the first word of ProxyCommand. OpenSSH for Windows runs ProxyCommand with CreateProcess, without
 * a shell. Older versions (8.1, which Windows 10 included) first try the whole command in quotation marks, and give up
 * if it starts with one itself. So on Windows the path is only quoted if it has to be.
 *
 * @throws MintError `ssh-config-unsafe`
 */
export function quoteProgram(path: string, platform = system.name): string {
  const quoted = quotePath(path, platform);
  return platform === 'win32' && /^"[\p{L}\p{N}_.:/+~-]+"$/u.test(quoted) ? quoted.slice(1, -1) : quoted;
}

/**
 * Quotes an absolute path as the value of Include, which is a glob(7) pattern. Whether Include expands `%` depends on the
 * version of OpenSSH, so `%` becomes a bracket expression, which every version reads as that character.
 *
 * @throws MintError `ssh-config-unsafe`
 */
export function quoteInclude(path: string, platform = system.name): string {
  // On Windows a backslash separates directories, and does not escape.
  if (platform === 'win32') return `"${checkPath(path, platform, specialInPattern)}"`;
  return `"${checkPath(path, platform)
    .replace(/[*?[\]]/g, '\\$&')
    .replaceAll('%', '[$-&]')}"`;
}

/**
 * Quotes any text as a word of ProxyCommand: for the user's shell, or on Windows for the argument parser of Microsoft's
 * C runtime.
 *
 * @throws MintError `ssh-config-unsafe` on Windows for text that cannot be quoted
 */
export function quoteWord(word: string, platform = system.name): string {
  const plain = word.replaceAll('%', '%%');
  if (platform !== 'win32') return `'${plain.replaceAll("'", "'\\''")}'`;
  if (!/["\p{Cc}]|\\$/u.test(word)) return `"${plain}"`;
  throw new MintError('ssh-config-unsafe', `${JSON.stringify(word)} cannot be written in an ssh config`, {
    hint: 'use a name without " and without \\ at its end',
  });
}

/** @returns whether a path can be quoted in an ssh config */
export function isWritablePath(path: string, platform = system.name): boolean {
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
  throw new MintError(
    'ssh-config-unsafe',
    `${JSON.stringify(path)} cannot be written in an ssh config: ${what}`,
    {
      hint: 'keep the program and its directory where the path has no $, `, \\, " or control character: --config-dir DIR',
    },
  );
}

/**
 * Turns backslashes into slashes on Windows, which accepts both in every path and pipe name (`//./pipe/NAME`). A
 * backslash in ssh_config is an escape since OpenSSH 8.7, and a plain character before.
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
