import assert from 'node:assert/strict';
import { test } from 'node:test';
import { vmName } from '../../src/settings/vm-name.ts';
import { refusal } from '../platform/directory.ts';
import { fc } from '../property.ts';

test('returns a valid name in lower case', () => {
  for (const name of ['dev', 'dev-2', 'a', '0', 'dev.json', 'a_b.c-d', 'x'.repeat(63)]) {
    assert.equal(vmName(name), name);
  }
  assert.equal(vmName('Dev'), 'dev');
});

for (const name of [
  '',
  '../x',
  'a/b',
  'a=b',
  '-oProxyCommand=x',
  '.hidden',
  '_x',
  'a b',
  'a\nb',
  'dev\n',
  'a\0b',
  'a\u001b[31m',
  'dév',
  'ｄｅｖ',
  '\u212a',
  'a\u202eb',
  'a*',
  'a?',
  '!a',
  '%h',
  '$(id)',
  'x'.repeat(64),
  'x'.repeat(300),
]) {
  test(`${JSON.stringify(name.slice(0, 20))} (${name.length}) is not a VM name`, () => {
    assert.throws(() => vmName(name), refusal('bad-vm-name'));
  });
}

test('the message shows the first 40 characters of an invalid name, and the hint what a valid one is', () => {
  const hint = /1 to 63 letters/;
  const shown = (name: string) => ({ code: 'bad-vm-name', hint, message: `"${name}" is not a VM name` });
  assert.throws(() => vmName(`-${'x'.repeat(39)}`), shown(`-${'x'.repeat(39)}`));
  assert.throws(() => vmName(`-${'x'.repeat(40)}`), shown(`-${'x'.repeat(39)}…`));
  assert.throws(() => vmName('-'), shown('-'));
});

test('the message for an invalid name is short, and safe on a terminal', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 400 }), (name) => {
      try {
        assert.match(vmName(name), /^[a-z0-9][a-z0-9._-]{0,62}$/);
      } catch (error) {
        assert.ok(refusal('bad-vm-name')(error));
        const { message } = error as Error;
        assert.doesNotMatch(message, /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u);
        assert.ok(message.length < 600);
      }
    }),
  );
});
