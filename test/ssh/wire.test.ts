import assert from 'node:assert/strict';
import { test } from 'node:test';
import { encodeByte, encodeString, encodeUint32, WireReader } from '../../src/ssh/wire.ts';
import { fc } from '../property.ts';
import { refusal } from './refusal.ts';

test('reads back encoded values', () => {
  fc.assert(
    fc.property(
      fc.nat(0xffffffff),
      fc.uint8Array(),
      fc.string({ unit: 'grapheme' }),
      (number, bytes, text) => {
        const reader = new WireReader(
          Buffer.concat([encodeByte(7), encodeUint32(number), encodeString(bytes), encodeString(text)]),
        );
        assert.equal(reader.byte(), 7);
        assert.equal(reader.uint32(), number);
        assert.deepEqual(reader.string(), Buffer.from(bytes));
        assert.equal(reader.text(), text);
        assert.equal(reader.remaining, 0);
        reader.end();
      },
    ),
  );
});

test('returns the unread bytes as the rest', () => {
  const reader = new WireReader(Buffer.from('abc'));
  reader.byte();
  assert.equal(reader.rest().toString(), 'bc');
  assert.equal(reader.remaining, 0);
  assert.equal(reader.rest().length, 0);
});

test('refuses trailing bytes', () => {
  assert.throws(() => new WireReader(Buffer.from('a')).end(), refusal('not-ssh'));
});

const truncated: readonly [string, string, (reader: WireReader) => unknown][] = [
  ['a byte', '', (reader) => reader.byte()],
  ['a boolean', '', (reader) => reader.boolean()],
  ['a uint32', '000000', (reader) => reader.uint32()],
  ['the length of a string', '0000', (reader) => reader.string()],
  ['the bytes of a string', '0000000361', (reader) => reader.string()],
  ['a string of four gigabytes', 'ffffffff61', (reader) => reader.string()],
  ['a name list', '0000000361', (reader) => reader.nameList()],
  ['a number', '00000002ff', (reader) => reader.mpint()],
];
for (const [what, hex, read] of truncated) {
  test(`refuses ${what} that is truncated`, () => {
    assert.throws(() => read(new WireReader(Buffer.from(hex, 'hex'))), refusal('not-ssh'));
  });
}

const malformed: readonly [string, string, (reader: WireReader) => unknown][] = [
  ['a boolean that is 2', '02', (reader) => reader.boolean()],
  ['a text that is not UTF-8', '00000001ff', (reader) => reader.text()],
  ['a name with a NUL', '0000000461006263', (reader) => reader.nameList()],
  ['a name with a space', '00000003612062', (reader) => reader.nameList()],
  ['a name that is not ASCII', '00000002c3a4', (reader) => reader.nameList()],
  ['an empty name', '00000003612c2c', (reader) => reader.nameList()],
  ['a comma at the start', '000000022c61', (reader) => reader.nameList()],
  ['a negative number', '0000000180', (reader) => reader.mpint()],
  ['a number with needless zeros', '000000020001', (reader) => reader.mpint()],
  ['the number zero', '00000000', (reader) => reader.mpint()],
  ['the number zero with a byte', '0000000100', (reader) => reader.mpint()],
];
for (const [what, hex, read] of malformed) {
  test(`${what} is refused`, () => {
    assert.throws(() => read(new WireReader(Buffer.from(hex, 'hex'))), refusal('not-ssh'));
  });
}

test('reads an empty name list', () => {
  assert.deepEqual(new WireReader(encodeString('')).nameList(), []);
});

test('accepts every printable character in a name', () => {
  for (let code = 0x21; code <= 0x7e; code += 1) {
    const name = `a${String.fromCharCode(code)}b`;
    assert.deepEqual(new WireReader(encodeString(name)).nameList(), name.split(','), name);
  }
});

test('keeps the order of a name list', () => {
  assert.deepEqual(new WireReader(encodeString('b,a,c@d')).nameList(), ['b', 'a', 'c@d']);
});

test('returns a number without the zero byte of its sign', () => {
  assert.deepEqual(new WireReader(Buffer.from('000000020080', 'hex')).mpint(), Buffer.from([0x80]));
  assert.deepEqual(new WireReader(Buffer.from('000000017f', 'hex')).mpint(), Buffer.from([0x7f]));
});

test('keeps a byte order mark in a text', () => {
  assert.equal(new WireReader(encodeString('\ufeffa')).text(), '\ufeffa');
});
