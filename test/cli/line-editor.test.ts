import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LineEditor } from '../../src/cli/line-editor.ts';

/** What is shown and what the lines are, for keys that arrive in these pieces. */
function type(...pieces: string[]): { shown: string; lines: unknown[]; rest: string } {
  const editor = new LineEditor();
  let [shown, rest] = ['', ''];
  const lines: unknown[] = [];
  for (const piece of pieces) {
    const typed = editor.type(Buffer.from(piece));
    shown += typed.shown;
    rest = typed.rest.toString();
    if (typed.line !== undefined) lines.push(typed.line);
  }
  return { shown, lines, rest };
}

test('echoes typed text, and returns it when Enter is pressed', () => {
  assert.deepEqual(type('ye', 's', '\r'), { shown: 'yes\r\n', lines: [{ text: 'yes' }], rest: '' });
  assert.deepEqual(type('\r'), { shown: '\r\n', lines: [{ text: '' }], rest: '' });
  assert.deepEqual(type('yes\rno\r'), { shown: 'yes\r\n', lines: [{ text: 'yes' }], rest: 'no\r' });
});

test('erases whole characters, and no more than were typed', () => {
  assert.deepEqual(type('nö\b\x7fyes\r').lines, [{ text: 'yes' }]);
  assert.equal(type('n\b\b\b').shown, 'n\b \b');
  assert.deepEqual(type('maybe\x15no\r').lines, [{ text: 'no' }]);
});

test('Ctrl-C ends it, and so do Ctrl-D and Ctrl-Z on an empty line', () => {
  for (const key of ['\x03', 'ye\x03', '\x04', '\x1a']) assert.deepEqual(type(key).lines, ['end'], key);
  assert.deepEqual(type('yes\x04\r').lines, [{ text: 'yes' }]);
});

test('ignores arrows and other control keys', () => {
  assert.deepEqual(type('y', '\x1b[A', '\x1bOP', 'e\x01\x02s\r'), {
    shown: 'yes\r\n',
    lines: [{ text: 'yes' }],
    rest: '',
  });
});

test('limits the length of a line', () => {
  const [line] = type('x'.repeat(5000), '\r').lines as { text: string }[];
  assert.equal(line?.text.length, 1024);
});
