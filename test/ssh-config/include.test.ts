import assert from 'node:assert/strict';
import { test } from 'node:test';
import { addInclude, inspectInclude, muteInclude, removeInclude } from '../../src/ssh-config/include.ts';
import { quoteInclude } from '../../src/ssh-config/quote.ts';
import { fc } from '../property.ts';

const path = '/home/me/.config/mint/ssh_config';
const include = quoteInclude(path);

const files: Readonly<Record<string, string>> = {
  empty: '',
  'one line': 'Host *\n',
  'no final newline': 'Host *\n  User me',
  CRLF: 'Host *\r\n  User me\r\n',
  'CRLF without final newline': 'Host *\r\n  User me',
  'mixed line ends': 'Host *\n  User me\r\n\r\n',
  'byte order mark': '\u00ef\u00bb\u00bfHost *\n',
  'byte order mark alone': '\u00ef\u00bb\u00bf',
  'blank lines first': '\n\n# mine\nHost *\n',
  'bytes that are not text': 'Host \u00ff\u0000\u0080\n',
  'carriage returns alone': 'Host *\rUser me\r',
};

for (const [name, text] of Object.entries(files)) {
  const before = Buffer.from(text, 'latin1');

  test(`${name}: the Include comes first, and removing it restores every byte`, () => {
    const after = addInclude(before, include);
    assert.ok(inspectInclude(after, include, path).inPlace);
    assert.deepEqual(addInclude(after, include), after);
    assert.deepEqual(removeInclude(after, include), before);
  });
}

test('adding and removing restores every byte of any file', () => {
  const line = fc.oneof(
    fc.constantFrom(
      '\n',
      '\r\n',
      'Host *\n',
      `Include ${include}\n`,
      '# mint-ssh: for `ssh VM`\n',
      '\u00ef\u00bb\u00bf',
    ),
    fc.string({ maxLength: 8 }),
  );
  fc.assert(
    fc.property(fc.array(line, { maxLength: 12 }), (lines) => {
      const before = Buffer.from(lines.join(''));
      const after = addInclude(before, include);
      assert.ok(inspectInclude(after, include, path).inPlace);
      assert.deepEqual(addInclude(after, include), after);
      assert.deepEqual(removeInclude(after, include), before);
    }),
  );
});

test('removes a file that it created, unless someone else has written to it', () => {
  const made = addInclude(undefined, include);
  assert.equal(removeInclude(made, include), undefined);
  const later = Buffer.concat([made, Buffer.from('Host x\n')]);
  assert.equal(removeInclude(addInclude(later, include), include)?.toString(), 'Host x\n');
  assert.equal(removeInclude(undefined, include), undefined);
  assert.equal(removeInclude(addInclude(Buffer.alloc(0), include), include)?.length, 0);
});

test('uses the line end of the file’s first line', () => {
  assert.match(
    addInclude(Buffer.from('A\r\nB\n'), include).toString(),
    /^#[^\n]*\r\nInclude [^\n]*\r\nA\r\n/,
  );
  assert.match(addInclude(Buffer.from('A\nB\r\n'), include).toString(), /^#[^\r\n]*\nInclude [^\r\n]*\nA\n/);
});

test('moves our lines back to the top if a setting is above them', () => {
  const added = addInclude(Buffer.from('Host *\n'), include);
  const pushedDown = Buffer.concat([Buffer.from('ForwardAgent yes\n'), added]);
  assert.ok(!inspectInclude(pushedDown, include, path).inPlace);
  const again = addInclude(pushedDown, include);
  assert.equal(again.toString().split(include).length, 2);
  assert.equal(removeInclude(again, include)?.toString(), 'ForwardAgent yes\nHost *\n');
});

test('does not move our lines below comments, empty lines and the Include of another directory', () => {
  const other = quoteInclude('/other/ssh_config');
  const both = addInclude(addInclude(Buffer.from('Host *\n'), include), other);
  assert.ok(inspectInclude(both, include, path).inPlace);
  assert.ok(inspectInclude(Buffer.concat([Buffer.from('# mine\n\n'), both]), include, path).inPlace);
  assert.equal(removeInclude(removeInclude(both, include), other)?.toString(), 'Host *\n');
});

test('finds an Include that the user wrote in every spelling, and never removes it', () => {
  for (const line of [`Include ${path}`, `include "${path}"`, `  INCLUDE=${path}`, `Include = "${path}" `]) {
    const before = Buffer.from(`User me\n${line}\nHost *\n`);
    const state = inspectInclude(before, include, path);
    assert.deepEqual(state, { inPlace: false, byHand: { line: 2, under: undefined } }, line);
    assert.deepEqual(removeInclude(before, include), before);
    assert.deepEqual(removeInclude(addInclude(before, include), include), before);
  }
});

test('reports the Host or Match line above an Include', () => {
  const before = Buffer.from(`Host work\n  User me\nInclude ${path}\n`);
  assert.deepEqual(inspectInclude(before, include, path).byHand, { line: 3, under: 1 });
});

test('keeps the line numbers when it comments out our Include', () => {
  const file = addInclude(Buffer.from(`Host *\nInclude ${path}\nUser me\n`), include);
  const lines = muteInclude(file, include, path).toString().split('\n');
  assert.deepEqual(lines.slice(1), ['#', 'Host *', '#', 'User me', '']);
});

test('writes and finds a path with non-ASCII characters as UTF-8', () => {
  const beyond = '/home/jürgen/ssh_config';
  const added = addInclude(Buffer.from('Host ü\n'), quoteInclude(beyond));
  assert.ok(added.toString().includes(`Include "${beyond}"\nHost ü\n`));
  assert.ok(inspectInclude(added, quoteInclude(beyond), beyond).inPlace);
  assert.equal(removeInclude(added, quoteInclude(beyond))?.toString(), 'Host ü\n');
});
