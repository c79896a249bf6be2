import { MintError } from '../errors.ts';

/**
 * An absolute path as a value of ssh_config: in double quotes, `%` doubled because most values that are
 * paths expand tokens. The same form serves inside ProxyCommand, which the user's shell reads as well: what
 * is special to a shell inside double quotes is refused. Throws `ssh-config-unsafe`.
 */
export function quotePath(path: string): string {
  return `"${checkPath(path).replaceAll('%', '%%')}"`;
}

/**
 * An absolute path as the value of Include, which is a glob(7) pattern: its special characters are escaped.
 * Whether Include expands `%` depends on the version of OpenSSH, so `%` is written as a bracket expression
 * that is neither a token nor an escape and matches it everywhere.
 */
export function quoteInclude(path: string): string {
  return `"${checkPath(path)
    .replace(/[*?[\]]/g, '\\$&')
    .replaceAll('%', '[$-&]')}"`;
}

/** Whether a path can be written at all. */
export function isWritablePath(path: string): boolean {
  return path.startsWith('/') && !special.test(path);
}

const special = /[$`\\"\p{Cc}\p{Zl}\p{Zp}]/u;

function checkPath(path: string): string {
  const found = special.exec(path);
  if (found === null && path.startsWith('/')) return path;
  const what = found === null ? 'it is not absolute' : `it has ${nameOf(found[0])}`;
  throw new MintError('ssh-config-unsafe', `${JSON.stringify(path)} cannot stand in an ssh config: ${what}`, {
    hint: 'keep the program and its directory where the path has no $, `, \\, " or control character: --config-dir DIR',
  });
}

function nameOf(character: string): string {
  return /[$`\\"]/.test(character) ? `a ${character}` : 'a control character';
}
