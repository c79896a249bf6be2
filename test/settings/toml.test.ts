/** TOML as a flat list of entries and tables with their lines, and what is said of TOML that is not valid. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { MintError } from '../../src/errors.ts';
import { parseToml } from '../../src/settings/toml.ts';

function refusalOf(text: string): MintError {
  try {
    parseToml(text, 'f.toml');
  } catch (error) {
    if (error instanceof MintError && error.code === 'bad-settings') return error;
    throw error;
  }
  return assert.fail(`accepted: ${text}`);
}

describe('TOML', () => {
  test('is a list of entries with path, line and value', () => {
    const text = [
      'user = "me"',
      'port = 22',
      'on = true',
      'list = [1]',
      'day = 2001-01-01',
      'vm.a.host = "h"',
      '"b c" = { d = 1, e.f = 2 }',
      '[t]',
      'g = 3',
      '[t.u]',
      'h = 4',
      '[[v]]',
      'i = 5',
    ].join('\n');
    assert.deepEqual(parseToml(text, 'f.toml'), {
      entries: [
        { path: ['user'], line: 1, value: 'me' },
        { path: ['port'], line: 2, value: 22 },
        { path: ['on'], line: 3, value: true },
        { path: ['list'], line: 4, value: undefined },
        { path: ['day'], line: 5, value: undefined },
        { path: ['vm', 'a', 'host'], line: 6, value: 'h' },
        { path: ['b c', 'd'], line: 7, value: 1 },
        { path: ['b c', 'e', 'f'], line: 7, value: 2 },
        { path: ['t', 'g'], line: 9, value: 3 },
        { path: ['t', 'u', 'h'], line: 11, value: 4 },
        { path: ['v'], line: 12, value: undefined },
      ],
      tables: [
        { path: ['vm'], line: 6 },
        { path: ['vm', 'a'], line: 6 },
        { path: ['b c'], line: 7 },
        { path: ['b c', 'e'], line: 7 },
        { path: ['t'], line: 8 },
        { path: ['t', 'u'], line: 10 },
      ],
    });
  });

  test('may begin with a byte order mark, and have none elsewhere', () => {
    assert.deepEqual(parseToml('\uFEFFa = 1\n', 'f.toml').entries, [{ path: ['a'], line: 1, value: 1 }]);
    assert.equal(refusalOf('a = 1\n\uFEFFb = 1\n').code, 'bad-settings');
    assert.equal(refusalOf('\uFEFF\uFEFFa = 1\n').code, 'bad-settings');
  });

  test('of the version 1.0 has no newline in an inline table', () => {
    assert.equal(refusalOf('a = {\nb = 1 }\n').code, 'bad-settings');
  });

  test('has keys of at most 32 parts', () => {
    const key = (parts: number) => Array(parts).fill('a').join('.');
    assert.equal(parseToml(`${key(32)} = 1\n`, 'f.toml').entries[0]?.path.length, 32);
    const { message, hint } = refusalOf(`x = 1\n${key(33)} = 1\n`);
    assert.match(message, /^f\.toml:2: .*33 parts/);
    assert.match(hint ?? '', /at most 32/);
    assert.match(refusalOf(`[${key(32)}]\na = 1\n`).message, /^f\.toml:2: /);
  });

  test('with a string that is too long for the parser is refused', () => {
    const { message, cause } = refusalOf(`a = "${'x'.repeat(150_000)}"\n`);
    assert.match(message, /^f\.toml:1: /);
    assert.ok(cause instanceof RangeError);
  });
});

describe('of invalid TOML', () => {
  const said = (text: string) => {
    const { message, hint } = refusalOf(text);
    return `${message} | ${hint}`;
  };

  test('the value without quotes is named, with the line as it should be', () => {
    for (const line of [
      'user = ubuntu',
      'user=ubuntu',
      '  user   =   ubuntu  ',
      '\tuser = ubuntu # a "comment"',
      'user = ubuntu#[x]',
    ])
      assert.equal(
        said(`a = 1\n${line}\n`),
        'f.toml:2: the value of user needs quotes | write: user = "ubuntu"',
      );
    assert.match(said('A-b_0 = x-y z.1\n'), /the value of A-b_0 needs quotes \| write: A-b_0 = "x-y z\.1"$/);
    assert.match(said('a = ~/x\n'), /write: a = "~\/x"$/);
    assert.match(said('a = /x\n'), /write: a = "\/x"$/);
    assert.match(said('a = Zz\n'), /write: a = "Zz"$/);
    assert.match(said('a = x\n'), /write: a = "x"$/);
  });

  test('a long or dangerous value is shown in part and escaped', () => {
    assert.match(said(`a = ${'x'.repeat(61)}\n`), /"x{60}"$/);
    assert.match(said(`a = ${'x'.repeat(60)}\n`), /"x{60}"$/);
    assert.match(said('a = x\u001by\n'), /"x\\+u\{1b\}y"$/);
    assert.match(said(`[${'x'.repeat(61)}\n`), / \[x{59} has no closing bracket .*write: \[x{59}\]$/);
  });

  test('what is not a plain word has the words of the parser', () => {
    for (const line of [
      'user = ub"untu',
      "user = ub'untu",
      'user = a[b',
      'user = a]b',
      'user = a{b',
      'user = a}b',
      'user = 1x2',
      'user = -x',
      'a.b = x',
      'a b = x',
      '"a" = x',
      'user =',
      'user',
    ]) {
      const shown = said(`${line}\n`);
      assert.match(shown, /^f\.toml:[12]: [a-z].* \| the file is TOML/, line);
      assert.doesNotMatch(shown, /needs quotes|closing bracket/, line);
    }
  });

  test('the table without a closing bracket is named, also from the line after it', () => {
    for (const line of ['[vm.dev', '  [vm.dev  ', '\t[vm.dev'])
      assert.equal(
        said(`a = 1\n${line}\nport = 22\n`),
        'f.toml:2: the table [vm.dev has no closing bracket | write: [vm.dev]',
        line,
      );
    assert.match(said('[vm.dev'), /^f\.toml:1: the table \[vm\.dev has no closing bracket/);
    for (const line of ['[vm.dev # x', 'x [vm.dev', '[vm.dev] x']) {
      const shown = said(`${line}\nport = 22\n`);
      assert.doesNotMatch(shown, /closing bracket/, line);
    }
  });

  test('the error of the parser is the cause', () => {
    for (const text of ['a = x\n', 'a = \n', '[a\n']) assert.ok(refusalOf(text).cause instanceof Error, text);
  });
});
