import { type AST, ParseError, parseTOML } from 'toml-eslint-parser';
import { printable } from '../cli/terminal.ts';
import { MintError } from '../errors.ts';

export type TomlValue = string | number | boolean;

/** One key with its value, independent of the TOML form in which it was written. */
export interface TomlEntry {
  readonly path: readonly string[];
  readonly line: number;
  /** Undefined for types that no setting has: arrays, dates, arrays of tables. */
  readonly value: TomlValue | undefined;
}

export interface TomlDocument {
  readonly entries: readonly TomlEntry[];
  /** All tables that the file names, empty ones included. */
  readonly tables: readonly { readonly path: readonly string[]; readonly line: number }[];
}

/** A key creates each of the tables that it names, so one with 100,000 parts would exhaust the memory. */
const deepest = 32;

/**
 * Reads TOML 1.0 into a flat list of entries with line numbers.
 *
 * @param file the name in error messages
 * @throws MintError `bad-settings` with file and line for invalid TOML, duplicate keys included
 */
export function parseToml(text: string, file: string): TomlDocument {
  const found = { entries: [] as TomlEntry[], tables: [] as { path: string[]; line: number }[] };
  // Editors on Windows write a byte order mark, which the parser would read as part of a key.
  const program = parse(text.replace(/^\uFEFF/, ''), file);
  for (const node of program.body[0].body) {
    if (node.type === 'TOMLKeyValue') {
      collect(node, [], file, found);
      continue;
    }
    const path = keyPath(node.key);
    const line = node.loc.start.line;
    if (node.kind === 'array') {
      found.entries.push({ path, line, value: undefined });
    } else {
      found.tables.push({ path, line });
      for (const inner of node.body) collect(inner, path, file, found);
    }
  }
  return found;
}

function parse(text: string, file: string): AST.TOMLProgram {
  try {
    return parseTOML(text, { tomlVersion: '1.0' });
  } catch (cause) {
    // The parser's own limit: strings longer than about 100,000 characters, or tables nested as deep.
    if (cause instanceof RangeError) {
      throw new MintError('bad-settings', `${file}:1: a string is too long, or tables are nested too deep`, {
        cause,
      });
    }
    if (!(cause instanceof ParseError)) throw cause;
    const mistake = commonMistake(text.split('\n'), cause.lineNumber);
    if (mistake !== undefined) {
      throw new MintError('bad-settings', `${file}:${mistake.line}: ${mistake.message}`, {
        cause,
        hint: mistake.hint,
      });
    }
    const message = cause.message.charAt(0).toLowerCase() + cause.message.slice(1);
    throw new MintError('bad-settings', `${file}:${cause.lineNumber}: ${message}`, {
      cause,
      hint: 'the file is TOML: name = "value", and [vm.NAME] above the settings of one VM',
    });
  }
}

interface Mistake {
  readonly line: number;
  readonly message: string;
  readonly hint: string;
}

/**
 * The parser says which token it did not expect. For the usual mistakes, this says what is missing.
 *
 * @param at the line number, from 1
 */
function commonMistake(lines: readonly string[], at: number): Mistake | undefined {
  // The parser reports an unclosed bracket in the line after it.
  for (const line of [at, at - 1]) {
    const table = /^\s*(\[[^\]#]*?)\s*$/.exec(lines[line - 1] ?? '')?.[1];
    if (table === undefined) continue;
    const shown = printable(table.slice(0, 60));
    return { line, message: `the table ${shown} has no closing bracket`, hint: `write: ${shown}]` };
  }
  const [, key = '', value = ''] =
    /^\s*([A-Za-z0-9_-]+)\s*=\s*([A-Za-z~/][^"'#[\]{}]*?)\s*(?:#.*)?$/.exec(lines[at - 1] ?? '') ?? [];
  if (value === '') return undefined;
  const quoted = JSON.stringify(printable(value.slice(0, 60)));
  return { line: at, message: `the value of ${key} needs quotes`, hint: `write: ${key} = ${quoted}` };
}

function collect(
  node: AST.TOMLKeyValue,
  above: readonly string[],
  file: string,
  found: { entries: TomlEntry[]; tables: { path: string[]; line: number }[] },
): void {
  const path = [...above, ...keyPath(node.key)];
  const line = node.loc.start.line;
  if (path.length > deepest) {
    throw new MintError('bad-settings', `${file}:${line}: a key has ${path.length} parts`, {
      hint: `settings have at most three parts, and TOML files here at most ${deepest}`,
    });
  }
  // A dotted key names tables too.
  for (let length = above.length + 1; length < path.length; length++) {
    found.tables.push({ path: path.slice(0, length), line });
  }
  if (node.value.type === 'TOMLInlineTable') {
    found.tables.push({ path, line });
    for (const inner of node.value.body) collect(inner, path, file, found);
  } else {
    found.entries.push({ path, line, value: scalar(node.value) });
  }
}

function scalar(node: AST.TOMLValue | AST.TOMLArray): TomlValue | undefined {
  if (node.type === 'TOMLArray') return undefined;
  return node.value instanceof Date ? undefined : node.value;
}

function keyPath(key: AST.TOMLKey): string[] {
  return key.keys.map((part) => (part.type === 'TOMLBare' ? part.name : part.value));
}
