import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { unifiedDiff } from '../../src/config/diff.ts';
import { ownDirectory } from './directory.ts';

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

test('the diff is one that git applies', (context) => {
  const directory = ownDirectory(context);
  for (const [before, after] of versions) {
    writeFileSync(join(directory, 'file'), before);
    const diff = unifiedDiff('file', Buffer.from(before), Buffer.from(after));
    execFileSync('git', ['apply', '-p0'], { cwd: directory, input: diff });
    assert.equal(readFileSync(join(directory, 'file'), 'utf8'), after, diff);
  }
});

test('equal versions have no diff, and a file that comes or goes is /dev/null on the other side', () => {
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

test('5,000 lines are compared at once', () => {
  const before = Buffer.from(Array.from({ length: 5000 }, (_, at) => `line ${at}\n`).join(''));
  const diff = unifiedDiff('f', before, Buffer.concat([Buffer.from('first\n'), before]));
  assert.equal(diff.split('\n').length, 8);
});
