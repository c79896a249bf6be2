import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { unifiedDiff } from '../../src/ssh-config/diff.ts';
import { ownDirectory } from '../platform/directory.ts';
import { fc } from '../property.ts';

const versions = [
  ['a\nb\nc\nd\ne\nf\ng\n', 'x\na\nb\nc\nd\ne\nf\ng\n'],
  ['a\nb\nc\nd\ne\nf\ng\n', 'a\nb\nc\nd\nX\nf\ng\n'],
  ['a\nb\nc', 'a\nb\nc\nd\n'],
  ['a\nb\nc\n', 'a\nb\nc'],
  ['x', 'i\nx'],
  ['', 'a\n'],
  ['a\n', ''],
  ['a\na\na\n', 'a\na\n'],
] as const;

test('git applies the diff', (context) => {
  const directory = ownDirectory(context);
  for (const [before, after] of versions) {
    writeFileSync(join(directory, 'file'), before);
    const diff = unifiedDiff('file', Buffer.from(before), Buffer.from(after));
    execFileSync('git', ['apply', '-p0'], { cwd: directory, input: diff });
    assert.equal(readFileSync(join(directory, 'file'), 'utf8'), after, diff);
  }
});

test('git applies the diff for random added, removed and moved lines', (context) => {
  const directory = ownDirectory(context);
  const lines = fc.array(fc.constantFrom('a', 'b', 'c', 'd', '', '}'), { maxLength: 40 });
  const text = (all: readonly string[], last: string) => (all.length === 0 ? '' : all.join('\n') + last);
  const end = fc.constantFrom('\n', '');
  fc.assert(
    fc.property(lines, lines, end, end, (old, now, oldEnd, nowEnd) => {
      const [before, after] = [text(old, oldEnd), text(now, nowEnd)];
      const diff = unifiedDiff('file', Buffer.from(before), Buffer.from(after));
      fc.pre(diff !== '');
      writeFileSync(join(directory, 'file'), before);
      execFileSync('git', ['apply', '-p0', '--unidiff-zero'], { cwd: directory, input: diff });
      assert.equal(readFileSync(join(directory, 'file'), 'utf8'), after, diff);
    }),
    { numRuns: 60 },
  );
});

test('a change at the top and one at the end of a long file are two hunks', () => {
  const lines = Array.from({ length: 5000 }, (_, at) => `line ${at}\n`);
  const after = ['first\n', ...lines.slice(0, -5), 'other\n'];
  const diff = unifiedDiff('f', Buffer.from(lines.join('')), Buffer.from(after.join('')));
  assert.equal(diff.match(/^@@ /gm)?.length, 2);
  assert.equal(diff.match(/^[+-](?![+-])/gm)?.length, 7);
});

test('the diff of a completely different file replaces every line, quickly', () => {
  const all = (word: string) =>
    Buffer.from(Array.from({ length: 20_000 }, (_, at) => `${word} ${at}\n`).join(''));
  const diff = unifiedDiff('f', all('old'), all('new'));
  assert.equal(diff.match(/^-old /gm)?.length, 20_000);
  assert.equal(diff.match(/^\+new /gm)?.length, 20_000);
});

test('equal versions have no diff, and a missing file is /dev/null', () => {
  assert.equal(unifiedDiff('f', Buffer.from('a'), Buffer.from('a')), '');
  assert.equal(unifiedDiff('f', undefined, undefined), '');
  assert.match(
    unifiedDiff('f', undefined, Buffer.from('a\n')),
    /^--- \/dev\/null\n\+\+\+ f\n@@ -0,0 \+1,1 @@\n\+a\n$/,
  );
  assert.match(
    unifiedDiff('f', Buffer.from('a\n'), undefined),
    /^--- f\n\+\+\+ \/dev\/null\n@@ -1,1 \+0,0 @@\n-a\n$/,
  );
});

test("control characters of the user's file do not reach the terminal", () => {
  const diff = unifiedDiff('f', Buffer.from('a\u001b[2J\tb\n'), Buffer.from('x\na\u001b[2J\tb\n'));
  assert.ok(diff.includes(' a\\u{1b}[2J\tb\n'));
});

test('compares 5,000 lines quickly', () => {
  const before = Buffer.from(Array.from({ length: 5000 }, (_, at) => `line ${at}\n`).join(''));
  const diff = unifiedDiff('f', before, Buffer.concat([Buffer.from('first\n'), before]));
  assert.equal(diff.split('\n').length, 8);
});
