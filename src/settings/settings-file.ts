import { basename } from 'node:path';
import { closest } from '../cli/suggest.ts';
import { printable } from '../cli/terminal.ts';
import { MintError } from '../errors.ts';
import { readPrivateFile } from '../platform/files.ts';
import { settingsKeys } from './settings-keys.ts';
import { parseToml, type TomlDocument, type TomlEntry, type TomlValue } from './toml.ts';
import { vmName } from './vm-name.ts';

/** Checked settings by key, each with its line number. */
export type Values = Map<string, { readonly value: TomlValue; readonly line: number }>;

/** One `[vm.NAME]` table. */
export interface VmTable {
  readonly line: number;
  readonly written: string;
  readonly values: Values;
}

const maxBytes = 1_000_000;

/**
 * @returns the text of a settings file; undefined if it does not exist
 * @throws MintError `bad-settings` if it is not UTF-8, `io-failed`
 */
export function readSettingsText(path: string): string | undefined {
  const bytes = readPrivateFile(path, { maxBytes, tooLarge: 'bad-settings' });
  if (bytes === undefined) return undefined;
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    const line = bytes.toString('utf8').split('\uFFFD', 1)[0]?.split('\n').length ?? 1;
    throw badSetting(basename(path), line, 'not UTF-8 text', 'save the file as UTF-8', cause);
  }
}

interface Tables {
  readonly top: Values;
  readonly vms: ReadonlyMap<string, VmTable>;
}

let lastRead: { readonly text: string; readonly file: string; readonly tables: Tables } | undefined;

/**
 * Sorts the entries of `ssh.toml` into the top level and the tables of the VMs, and checks each one. The last result is
 * cached, because the agent calls this for every connection, and 1,000 VMs take 50 ms.
 *
 * @param text the content of the file
 * @param file its name in error messages
 * @throws MintError `bad-settings`
 */
export function readTables(text: string, file: string): Tables {
  if (lastRead?.text !== text || lastRead.file !== file)
    lastRead = { text, file, tables: parseTables(text, file) };
  return lastRead.tables;
}

function parseTables(text: string, file: string): Tables {
  const document = parseToml(text, file);
  const vms = collectVms(document, file);
  const top: Values = new Map();
  for (const entry of document.entries) {
    const [first = '', second, key, ...more] = entry.path;
    if (first !== 'vm') {
      if (second !== undefined) throw unknownTable(file, entry.line, entry.path);
      top.set(first, checked(file, first, entry, 'top'));
    } else if (second === undefined || key === undefined) {
      throw badSetting(
        file,
        entry.line,
        `${shownKey(entry.path)} must be a table`,
        'write [vm.NAME] on a line of its own',
      );
    } else {
      if (more.length > 0) throw unknownTable(file, entry.line, entry.path);
      vms.get(vmName(second))?.values.set(key, checked(file, key, entry, 'vm'));
    }
  }
  for (const [name, { values }] of vms) {
    refuseBothWays(file, values);
    refuseOwnJump(file, name, values);
  }
  return { top, vms };
}

/** A VM cannot be its own jump host, and a jump host does not open tunnels through an endpoint. */
function refuseOwnJump(file: string, name: string, values: Values): void {
  const via = values.get('via');
  if (via === undefined) return;
  if (String(via.value).split('@').at(-1) === name) {
    throw badSetting(file, via.line, `via of ${name} is ${name} itself`, 'name the jump host in front of it');
  }
  if (values.get('route')?.value !== 'endpoint') return;
  throw badSetting(
    file,
    via.line,
    'route = "endpoint" and via contradict each other',
    'remove one of the two',
  );
}

/** `host` is the VM's only address, so a route to another address contradicts it. */
function refuseBothWays(file: string, values: Values): void {
  const route = values.get('route');
  if (!values.has('host') || (route?.value !== 'endpoint' && route?.value !== 'private')) return;
  throw badSetting(
    file,
    route.line,
    `route = ${JSON.stringify(route.value)} and host contradict each other`,
    'remove one of the two: the proxy dials host if it is set',
  );
}

function collectVms(document: TomlDocument, file: string): Map<string, VmTable> {
  const vms = new Map<string, VmTable>();
  for (const { path, line } of document.tables) {
    const [first, written] = path;
    if (first !== 'vm') throw unknownTable(file, line, path);
    if (written === undefined) continue;
    if (path.length > 2) throw unknownTable(file, line, path);
    const name = checkedName(written, file, line);
    const other = vms.get(name);
    if (other === undefined) vms.set(name, { line, written, values: new Map() });
    else if (other.written !== written) {
      throw new MintError(
        'vm-ambiguous',
        `${file}:${line}: ${shownKey(['vm', written])} and ${shownKey(['vm', other.written])} (line ${other.line}) are the same name`,
        { hint: 'names are compared in lower case: rename one of them' },
      );
    }
  }
  return vms;
}

function checkedName(written: string, file: string, line: number): string {
  try {
    return vmName(written);
  } catch (cause) {
    if (!(cause instanceof MintError)) throw cause;
    throw new MintError(cause.code, `${file}:${line}: ${cause.message}`, { hint: cause.hint, cause });
  }
}

function checked(
  file: string,
  key: string,
  { value, line }: TomlEntry,
  where: 'top' | 'vm',
): { value: TomlValue; line: number } {
  const rule = Object.hasOwn(settingsKeys, key) ? settingsKeys[key] : undefined;
  if (rule === undefined) {
    throw badSetting(
      file,
      line,
      `unknown setting ${shownKey([key])}`,
      `${suggestion(key)}the settings are ${names(where)}`,
    );
  }
  if (rule.scope !== 'any' && rule.scope !== where) {
    const place = rule.scope === 'vm' ? 'below a [vm.NAME]' : 'at the top, above the first table';
    throw badSetting(file, line, `${key} is not allowed here`, `put it ${place}`);
  }
  if (value === undefined || !rule.accepts(value))
    throw badSetting(file, line, `${key} must be ${rule.wants}`);
  return { value, line };
}

function suggestion(key: string): string {
  const near = closest(key, Object.keys(settingsKeys));
  return near === undefined ? '' : `did you mean ${near}? `;
}

function names(where: 'top' | 'vm'): string {
  const fit = Object.entries(settingsKeys).filter(([, rule]) => rule.scope === 'any' || rule.scope === where);
  return fit.map(([key]) => key).join(', ');
}

function unknownTable(file: string, line: number, path: readonly string[]): MintError {
  return badSetting(
    file,
    line,
    `unknown table or setting ${shownKey(path)}`,
    'the only tables are [vm.NAME]',
  );
}

/** @returns a key for a message: shortened, with control characters escaped */
export function shownKey(path: readonly string[]): string {
  const text = path.join('.');
  return `"${printable(text.length > 60 ? `${text.slice(0, 60)}…` : text)}"`;
}

/**
 * @param what what is wrong, in lower case
 * @param remedy becomes the hint
 * @returns a `bad-settings` error that begins with the file and the line
 */
export function badSetting(
  file: string,
  line: number,
  what: string,
  remedy?: string,
  cause?: unknown,
): MintError {
  return new MintError('bad-settings', `${file}:${line}: ${what}`, { hint: remedy, cause });
}
