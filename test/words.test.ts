/** Words to avoid, because readers have to translate them: in the source, the documents, and the comments and names of tests. */
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

const root = join(import.meta.dirname, '..');

/** Each pattern with a plain word to use instead. */
const avoided: readonly (readonly [pattern: RegExp, instead: string])[] = [
  [/\bwhoever\b/i, 'name the user, the agent, sshd …'],
  [/\bwhatever\b/i, 'any, every, even if'],
  [/\bnobody\b/i, 'no user, not'],
  [/\banew\b/i, 'again, new'],
  [/\bstands\b/i, 'is'],
  [/\bmend(?:s|ed|ing)?\b/i, 'fix'],
  [/\bof help\b/i, 'useful'],
  [/\b(?:come|comes|came) about\b/i, 'happen'],
  [/(?<!there )\b(?:is|are) no\b(?! longer)/i, 'is not a'],
  [/(?<!there )\b(?:is|are) none\b/i, 'is not one'],
  [/\blets? (?:\w+ )?in\b/i, 'authorize, accept'],
  [/\btakes? away\b/i, 'remove'],
  [/\bbrings? along\b/i, 'include'],
  [/\blooks? in\b/i, 'check, read'],
  [/\b(?:say|says|said) so\b/i, 'report, print'],
  [/\bhears? of\b/i, 'learn'],
  [/\b(?:give|gives|gave|given) back\b/i, 'return'],
  [/\ba person\b/i, 'the user, a visitor'],
];

/** Lines in which such a word is right: the Unix user nobody, and words of the sentence that only meet. */
const allowed: readonly RegExp[] = [
  /\bthe user nobody\b/,
  /starts? Node as `nobody`/,
  /\bwidth of help\b/,
  /\bbreaks of help\b/,
];

/** So many lines may have one of the words. Lower it when there are fewer; never raise it. */
const limit = 5;

/** @returns the lines of a file that are text: all, or of a test its comments and names */
function textOf(file: string): readonly string[] {
  const lines = readFileSync(join(root, file), 'utf8').split('\n');
  if (!file.startsWith('test/')) return lines;
  return lines.map((line) =>
    /^\s*(?:\/\*\*|\*|\/\/|#)|\s\/\/ |\b(?:test|describe)\(/.test(line) ? line : '',
  );
}

test('source, documents and tests avoid words that readers have to translate', () => {
  const files = globSync(['*.md', 'install.sh', 'docs/*.md', '{src,build,test}/**/*.{ts,cjs,sh,py}'], {
    cwd: root,
  });
  assert.ok(files.length > 500, 'the files were found');
  const found: string[] = [];
  for (const file of files.sort()) {
    if (file === 'test/words.test.ts') continue;
    textOf(file).forEach((line, index) => {
      if (allowed.some((pattern) => pattern.test(line))) return;
      for (const [pattern, instead] of avoided) {
        const word = pattern.exec(line)?.[0];
        if (word !== undefined) found.push(`${file}:${index + 1}: "${word}": ${instead}: ${line.trim()}`);
      }
    });
  }
  assert.ok(found.length <= limit, `${found.length} lines, at most ${limit}:\n${found.join('\n')}`);
});
