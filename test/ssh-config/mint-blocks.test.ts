import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { findMintBlocks, putAsideMintBlocks, restoreMintBlocks } from '../../src/ssh-config/mint-blocks.ts';
import { mintBlock } from './mint-block.ts';

const all = new Set(['dev', 'dev-2', 'build']);
const found = (text: string) =>
  findMintBlocks(Buffer.from(text, 'latin1')).map(({ vm, line, isIntact }) => [vm, line, isIntact]);
const aside = (text: string, vms: ReadonlySet<string> = all) =>
  putAsideMintBlocks(Buffer.from(text, 'latin1'), vms).toString('latin1');
const restored = (text: string) => restoreMintBlocks(Buffer.from(text, 'latin1')).toString('latin1');

test('a block as Mint wrote it is known by its checksum, and dev is not dev-2', () => {
  const text = `Host *\n\n${mintBlock('dev-2')}\n${mintBlock('dev')}`;
  assert.deepEqual(found(text), [
    ['dev-2', 3, true],
    ['dev', 12, true],
  ]);
  const without = aside(text, new Set(['dev']));
  assert.deepEqual(found(without), [['dev-2', 3, true]]);
  assert.ok(
    without.startsWith(`Host *\n\n${mintBlock('dev-2')}\n# mint-ssh has put aside Mint's block of dev;`),
  );
  assert.ok(!aside(text).includes('mint:begin'));
  assert.equal(restored(without), text);
  assert.equal(restored(aside(text)), text);
});

test('a VM’s name counts in lower case', () => {
  assert.deepEqual(found(mintBlock('Dev')), [['dev', 1, true]]);
  assert.equal(restored(aside(mintBlock('Dev'))), mintBlock('Dev'));
});

const whole = mintBlock('dev');
const edited: Readonly<Record<string, string>> = {
  'a line changed': whole.replace('ubuntu', 'me'),
  'a line added': whole.replace('# mint:end', '    ForwardAgent yes\n# mint:end'),
  'spaces changed': whole.replace('    User', '  User'),
  'CRLF line ends': whole.replaceAll('\n', '\r\n'),
  'no checksum': whole.replace(/# mint:checksum:.*\n/, ''),
  'a checksum cut short': whole.replace(/.\n$/, '\n'),
  'a line between end and checksum': whole.replace('# mint:checksum', '\n# mint:checksum'),
  'no end': whole.replace(/# mint:end .*\n/, ''),
  'the end of another': whole.replace('# mint:end dev', '# mint:end dev-2'),
  'another Host': mintBlock('dev').replace(/mint-dev\n/, 'mint-dev-2\n'),
  'a marker with more behind it': whole.replace('# mint:begin dev', '# mint:begin dev '),
  'a block within it': whole.replace('# mint:end', `${mintBlock('build')}# mint:end`),
};

for (const [name, text] of Object.entries(edited)) {
  test(`${name}: edited by hand, and left byte for byte`, () => {
    assert.deepEqual(found(text)[0], ['dev', 1, false]);
    assert.equal(aside(text, new Set(['dev'])), text);
  });
}

test('what only resembles a marker is none', () => {
  for (const line of [
    '# mint:beginner dev',
    ' # mint:begin dev',
    '# mint:begin',
    '# mint:begin a b',
    '# mint:begin ../x',
  ])
    assert.deepEqual(found(`${line}\n${whole.slice(whole.indexOf('\n') + 1)}`), [], line);
});

test('a block at the end of a file without a final line end comes back without one', () => {
  const text = `Host *\n${whole.trimEnd()}`;
  assert.deepEqual(found(text), [['dev', 2, true]]);
  assert.ok(!aside(text).endsWith('\n'));
  assert.equal(restored(aside(text)), text);
});

test('what a person writes around it stays, and a comment that holds no block is not ours', () => {
  const later = `User me\n${aside(`Host *\n\n${whole}`)}Host x\n`;
  assert.equal(restored(later), `User me\nHost *\n\n${whole}Host x\n`);
  const packed = (text: string) => Buffer.from(text).toString('base64');
  const comment = (vm: string, text: string) =>
    `# mint-ssh has put aside Mint's block of ${vm}; \`mint-ssh ssh-config --remove\` puts it back: ${packed(text)}\n`;
  assert.equal(restored(comment('dev', whole.trimEnd())), whole);
  for (const line of [
    comment('dev', 'Host *\n  ProxyCommand evil'),
    comment('dev-2', whole.trimEnd()),
    comment('dev', `${whole}Host *\n  ProxyCommand evil`),
    comment('dev', `${whole}${mintBlock('build')}`),
    comment('dev', ''),
  ]) {
    assert.equal(restored(line), line);
  }
});

test('of two blocks of one VM the newer one is what comes back: the older has an address of long ago', () => {
  const first = aside(`Host *\n${mintBlock('dev', '192.0.2.1')}`);
  const newer = mintBlock('dev', '192.0.2.2');
  // Mint has written it anew: put aside again, or still standing when we are taken out.
  assert.equal(restored(aside(`${first}\n${newer}`)), `Host *\n\n${newer}`);
  assert.equal(restored(`${first}\n${newer}`), `Host *\n\n${newer}`);
});

test('whatever the file holds, putting aside and restoring gives back every byte', () => {
  const piece = fc.oneof(
    fc.constantFrom(
      mintBlock('dev'),
      mintBlock('dev-2'),
      mintBlock('other'),
      '# mint:begin dev\n',
      '# mint:end dev\n',
      'Host mint-dev\n',
      '\r\n',
      '\n',
      ...Object.values(edited),
    ),
    fc.string({ maxLength: 8 }),
    fc.uint8Array({ maxLength: 8 }).map((bytes) => Buffer.from(bytes).toString('latin1')),
  );
  fc.assert(
    fc.property(fc.uniqueArray(piece, { maxLength: 8 }), (pieces) => {
      const text = Buffer.from(pieces.join(''), 'latin1').toString('latin1');
      const after = aside(text);
      // A VM with a block that stands, edited, keeps that one: Mint looks at the first.
      const names = found(text).map(([vm]) => vm);
      if (new Set(names).size === names.length) assert.equal(restored(after), text);
      assert.equal(aside(after), after);
    }),
  );
});
