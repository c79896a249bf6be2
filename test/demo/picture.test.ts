/** The picture of README is what the demo prints. `npm run picture` draws it again. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { before, describe, test } from 'node:test';
import { demoLines, normal, pictureFile, pictureLines } from '../../build/picture.ts';
import { type Line, linesOf, svgOf, textOf } from '../../build/terminal-svg.ts';

describe('the picture of README', { timeout: 120_000 }, () => {
  let lines: Line[];
  before(async () => {
    lines = await demoLines();
  });

  test('shows what the demo prints now, but for keys and times', () => {
    const picture = textOf(readFileSync(pictureFile, 'utf8')).map(normal);
    assert.deepEqual(
      picture,
      pictureLines(lines).map(({ text }) => normal(text)),
    );
    assert.ok(picture.some((line) => line.includes('ssh dev hostname')));
    assert.ok(picture.some((line) => line.includes('HAS CHANGED')));
  });

  test('and no row of the demo is longer than 80 columns', () => {
    assert.deepEqual(
      lines.filter(({ isWrapped }) => isWrapped),
      [],
    );
  });

  test('fetches nothing, and has colours for light and dark pages', () => {
    const svg = readFileSync(pictureFile, 'utf8');
    assert.doesNotMatch(
      svg.replace('http://www.w3.org/2000/svg', ''),
      /https?:|@import|url\(|<image|<script/,
    );
    assert.match(svg, /prefers-color-scheme: dark/);
  });
});

test('a drawing keeps text, blanks, markup and colours', async () => {
  const output = 'plain\r\n  \u001b[1;31m<a> & "b"\u001b[0m   c\r\n\r\nover\rOVER\r\n';
  const lines = await linesOf(output, 80);
  const expected = ['plain', '  <a> & "b"   c', '', 'OVER'];
  assert.deepEqual(
    lines.map(({ text }) => text),
    expected,
  );
  const svg = svgOf(lines, 80, 'a test');
  assert.deepEqual(textOf(svg), expected);
  assert.match(svg, /class="bold c1">&lt;a&gt; &amp; &quot;b&quot;</);
});
