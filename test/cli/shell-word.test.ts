/** The form of one word for a shell. test/cli/shell-command.test.ts has real shells read them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { command, ec2Id, idOr, shellWord } from '../../src/cli/shell-command.ts';

test('a word is bare if every character is plain and it cannot be an option', () => {
  for (const word of ['a', 'A0_', '/home/u/.ssh', 'a@b%+=:,./-', '=', '@', '%', '+', ':', ',', '.', '/'])
    assert.equal(shellWord(word), word);
  for (const word of [
    '',
    '-',
    '-a',
    '--',
    'a b',
    ' a',
    'a ',
    'a;',
    '$a',
    '`a`',
    '~',
    '#a',
    'a*',
    'a\\b',
    'é',
    '"',
    '&',
    '(a)',
  ])
    assert.equal(shellWord(word), `'${word}'`);
});

test('quotes are escaped, and control characters shown', () => {
  assert.equal(shellWord("it's 'x'"), "'it'\\''s '\\''x'\\'''");
  assert.equal(shellWord('a\n'), "'a\\u{a}'");
  assert.equal(shellWord('\u202ea'), "'\\u{202e}a'");
});

test('a command quotes its values and not its own text', () => {
  assert.equal(command`chmod go-w ${'/a'} ${'a b'} && x`, "chmod go-w /a 'a b' && x");
  assert.equal(command`ls`, 'ls');
});

test('an identifier is used if it has the form, from its start to its end', () => {
  for (const id of [
    'i-0123456789abcdef0',
    'i-01234567',
    'subnet-0123456789abcdef0',
    `${'a'.repeat(20)}-${'0'.repeat(32)}`,
  ])
    assert.equal(idOr(id, ec2Id, 'ID'), id);
  for (const id of [
    ...[
      undefined,
      '',
      'i-',
      'i-0123456',
      '-01234567',
      'I-01234567',
      'i-0123456g',
      'i-01234567 ',
      ' i-01234567',
    ],
    ...['i-01234567\n', 'i_01234567', 'i1-01234567', `${'a'.repeat(21)}-01234567`, `i-${'0'.repeat(33)}`],
  ])
    assert.equal(idOr(id, ec2Id, 'ID'), 'ID');
});
