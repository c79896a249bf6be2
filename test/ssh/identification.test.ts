import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Identification } from '../../src/ssh/identification.ts';
import { fc } from '../property.ts';
import { refusal } from './refusal.ts';

const never = (message?: RegExp) =>
  refusal('not-ssh', { unsafe: false, ...(message === undefined ? {} : { message }) });

function linesOf(text: string | Buffer, side: 'server' | 'client' = 'server'): string[] | undefined {
  const greeting = new Identification(side).push(Buffer.from(text));
  return greeting?.lines.map((line) => line.toString('latin1'));
}

test('returns the complete SSH- line, and the bytes after it', () => {
  const greeting = new Identification('server').push(
    Buffer.from('SSH-2.0-OpenSSH_9.2p1 Debian-2\r\nmore\nmore'),
  );
  assert.deepEqual(greeting?.lines.map(String), ['SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n']);
  assert.equal(greeting?.rest.toString(), 'more\nmore');
});

test('accepts a bare line feed, which some old servers send', () => {
  assert.deepEqual(linesOf('hello\nSSH-2.0-x\n'), ['hello\n', 'SSH-2.0-x\n']);
});

test('accepts version 1.99, which also supports version 2', () => {
  assert.deepEqual(linesOf('SSH-1.99-Cisco-1.25\n'), ['SSH-1.99-Cisco-1.25\n']);
});

test('has no last line before a line is complete', () => {
  const identification = new Identification('server');
  assert.equal(identification.lastLine, undefined);
  identification.push(Buffer.from('SSH-2.0'));
  assert.equal(identification.lastLine, undefined);
});

test('holds lines before the SSH- line until that arrives', () => {
  const identification = new Identification('server');
  assert.equal(identification.push(Buffer.from('Welcome\r\n\r\nto the j')), undefined);
  assert.equal(identification.lastLine, '');
  assert.equal(identification.push(Buffer.from('ungle\r\nSSH-2.0')), undefined);
  assert.equal(identification.lastLine, 'to the jungle');
  const greeting = identification.push(Buffer.from('-x\r\n'));
  assert.deepEqual(greeting?.lines.map(String), [
    'Welcome\r\n',
    '\r\n',
    'to the jungle\r\n',
    'SSH-2.0-x\r\n',
  ]);
});

test('returns the same lines for every split of the stream', () => {
  const line = fc
    .string({ unit: 'grapheme', maxLength: 60 })
    .map((text) => text.replace(/[\0\r\n]/g, ''))
    .filter((text) => !text.startsWith('SSH-') && !text.startsWith('HTTP/'))
    .map((text) => `${text}\r\n`);
  fc.assert(
    fc.property(fc.array(line, { maxLength: 30 }), fc.integer({ min: 1, max: 80 }), (lines, size) => {
      const stream = Buffer.from([...lines, 'SSH-2.0-x\r\n', 'rest\nrest'].join(''));
      const identification = new Identification('server');
      for (let at = 0; at < stream.length; at += size) {
        const greeting = identification.push(stream.subarray(at, at + size));
        if (greeting === undefined) continue;
        assert.deepEqual(greeting.lines.map(String), [...lines, 'SSH-2.0-x\r\n']);
        const left = stream.subarray(at + size).toString();
        assert.equal(greeting.rest.toString() + left, 'rest\nrest');
        return;
      }
      assert.fail('the SSH- line was not seen');
    }),
  );
});

test('returns long lines that arrive byte by byte', () => {
  const lines = ['x'.repeat(300), 'y'.repeat(8000), 'z'.repeat(600), 'SSH-2.0-x'].map((line) => `${line}\n`);
  const identification = new Identification('server');
  let greeting: ReturnType<Identification['push']>;
  for (const byte of Buffer.from(lines.join(''))) greeting ??= identification.push(Buffer.of(byte));
  assert.deepEqual(greeting?.lines.map(String), lines);
});

test('keeps the bytes of a line when the caller reuses its buffer', () => {
  const chunk = Buffer.from('hello\n');
  const identification = new Identification('server');
  identification.push(chunk);
  chunk.fill(0);
  assert.equal(String(identification.push(Buffer.from('SSH-2.0-x\n'))?.lines[0]), 'hello\n');
});

test('refuses a client that does not begin with its SSH- line', () => {
  assert.deepEqual(linesOf('SSH-2.0-x\r\n', 'client'), ['SSH-2.0-x\r\n']);
  assert.throws(() => linesOf('hello\r\nSSH-2.0-x\r\n', 'client'), never());
});

const refused: readonly [string, string | Buffer][] = [
  ['SSH version 1', 'SSH-1.5-old\n'],
  ['a version 2 that is not 2.0', 'SSH-2.1-new\n'],
  ['an SSH- line without a version', 'SSH-\n'],
  ['SSH version 1 with the name of version 2 behind it', 'SSH-1.5-SSH-2.0-x\n'],
  ['an SSH- line with a NUL', 'SSH-2.0-x\0y\n'],
  ['an SSH- line with a lone CR, which some clients take for its end', 'SSH-2.0-x\rSSH-2.0-y\n'],
  ['a line with a lone CR', 'hello\rSSH-2.0-x\n'],
  ['an SSH- line of 256 bytes', `SSH-2.0-${'x'.repeat(246)}\r\n`],
  ['a line of 8193 bytes', `${'x'.repeat(8192)}\n`],
  ['8193 bytes without an end', 'x'.repeat(8193)],
  ['1024 lines', '\n'.repeat(1024)],
  ['65,537 bytes of lines', `${'x'.repeat(8000)}\n`.repeat(9)],
  ['an HTTP server', 'HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\n\r\n'],
];
for (const [what, text] of refused) {
  test(`refuses as not SSH: ${what}`, () => {
    assert.throws(() => linesOf(text), never());
    const identification = new Identification('server');
    assert.throws(() => {
      for (const byte of Buffer.from(text)) identification.push(Buffer.from([byte]));
    }, never());
  });
}

test('names an HTTP server in the error', () => {
  assert.throws(() => linesOf('HTTP/1.0 200 OK\r\n'), never(/HTTP server/));
  assert.throws(() => linesOf('HTTP/1.0 200 OK\r\n'), { hint: /the port/ });
});

test('accepts the longest allowed lines', () => {
  const longest = `SSH-2.0-${'x'.repeat(245)}\r\n`;
  assert.equal(longest.length, 255);
  const lines = [`${'x'.repeat(8191)}\n`, ...new Array<string>(1022).fill('\n'), longest];
  assert.deepEqual(linesOf(lines.join('')), lines);
});

test('accepts 64 KiB of lines', () => {
  const last = 'SSH-2.0-x\n';
  const lines = [...new Array<string>(7).fill(`${'x'.repeat(8191)}\n`), `${'x'.repeat(8181)}\n`, last];
  assert.equal(lines.join('').length, 64 * 1024);
  assert.deepEqual(linesOf(lines.join('')), lines);
});

test('accepts a line that mentions HTTP before the SSH- line', () => {
  const lines = ['no HTTP/1.1 here\n', 'SSH-2.0-x\n'];
  assert.deepEqual(linesOf(lines.join('')), lines);
});

test('refuses random bytes, or waits for more', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 2000 }), (bytes) => {
      try {
        assert.equal(linesOf(Buffer.from(bytes)), undefined);
      } catch (error) {
        never()(error);
      }
    }),
  );
});
