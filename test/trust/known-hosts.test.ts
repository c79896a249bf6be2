import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { findPin, findPins, knownHostsBytes, withoutPin, withPin } from '../../src/trust/known-hosts.ts';
import { fc } from '../property.ts';

const a = `SHA256:${'a'.repeat(42)}A`;
const b = `SHA256:${'b'.repeat(42)}A`;

describe('reading what the file says about a VM', () => {
  const pins: Record<string, string> = {
    'a line': `dev=${a}\n`,
    'a line without an end': `dev=${a}`,
    'a line that ends as on Windows': `dev=${a}\r\n`,
    'a line with blanks about it': ` \t dev=${a}  \n`,
    'the last of several lines': `dev=${b}\ndev=${a}\n`,
    'a line after a bad one': `dev=\ndev=${a}\n`,
    'a line behind comments, blanks and nonsense': `# dev=${b}\n\n   \nnonsense\n=x\n==\ndev=${a}\n`,
    'a name in capitals, as Mint may write it': `Dev=${a}\n`,
    'two spellings with the same key': `Dev=${a}\ndev=${a}\n`,
    'a line beside names that contain it': `dev-2=${b}\nmydev=${b}\ndev=${a}\ndev.json=${b}\nx=dev\n`,
    'a line beside bytes that are not UTF-8': `\xff\xfe\x80=dev\ndev=${a}\n`,
  };
  for (const [what, text] of Object.entries(pins)) {
    test(`${what} is a pin`, () => assert.deepEqual(findPin(text, 'dev'), { kind: 'pin', fingerprint: a }));
  }

  const absent: Record<string, string> = {
    'an empty file': '',
    'blank lines': '\n\n \t\n',
    'a comment': `#dev=${a}\n # dev=${a}\n`,
    'other names': `dev-2=${a}\ndevdev=${a}\nde=${a}\n`,
    'a value that names the VM': `other=dev\n`,
  };
  for (const [what, text] of Object.entries(absent)) {
    test(`${what} is not a pin`, () => assert.deepEqual(findPin(text, 'dev'), { kind: 'absent' }));
  }

  const bad: Record<string, [string, number]> = {
    'no value': ['dev=\n', 1],
    'a value of 42 characters': [`\n\ndev=${a.slice(0, -1)}\n`, 3],
    'a value of 44 characters': [`dev=${a}A\n`, 1],
    'a padded value': [`dev=${a}=\n`, 1],
    'an MD5 fingerprint': ['dev=MD5:16:27:ac:a5:76:28:2d:36:63:1b:56:4d:eb:df:a6:48\n', 1],
    'a lower-case algorithm': [`dev=${a.toLowerCase()}\n`, 1],
    'a blank before the value': [`# x\ndev= ${a}\n`, 2],
    'a blank behind the name': [`dev =${a}\n`, 1],
    'a comment behind the value': [`dev=${a} # mine\n`, 1],
    'two keys': [`dev=${a},${b}\n`, 1],
    'no "="': ['dev\n', 1],
    'an OpenSSH line': ['dev ssh-ed25519 AAAA=\ndev\n', 2],
    'a byte order mark before the name': [`\xef\xbb\xbfdev=${a}\n`, 1],
    'a bad line after a good one': [`dev=${a}\ndev=x\n`, 2],
    'a bad line below other lines': [`one=${a}\ntwo=${b}\n# three\ndev=x\n`, 4],
    'two spellings with different keys': [`Dev=${a}\ndev=${b}\n`, 2],
    'control characters in the value': [`dev=${a.slice(0, -1)}\x1b\n`, 1],
  };
  for (const [what, [text, line]] of Object.entries(bad)) {
    test(`${what} is bad, and never "no pin yet"`, () => {
      const finding = findPin(text, 'dev');
      assert.equal(finding.kind, 'bad');
      assert.equal(finding.kind === 'bad' && finding.line, line);
    });
  }

  test('all names are found in one pass, with the same findings', () => {
    const text = `\nnonsense\nb=${b}\n#c=${a}\nDev=${a}\n\n=x\nbad=\n`;
    assert.deepEqual([...findPins(text).keys()], ['nonsense', 'b', 'dev', 'bad']);
    for (const [name, finding] of findPins(text)) assert.deepEqual(finding, findPin(text, name));
  });
});

test('a file has at most 4 MiB', () => {
  assert.equal(knownHostsBytes, 4_194_304);
});

describe('changing what the file says', () => {
  test('adds a new VM at the end, after a missing newline', () => {
    assert.equal(withPin('', 'dev', a), `dev=${a}\n`);
    assert.equal(withPin(`x=${b}`, 'dev', a), `x=${b}\ndev=${a}\n`);
  });

  test('replaces a line in place, and keeps its line end and spelling', () => {
    assert.equal(withPin(`x=1\r\nDev=${b}\r\ny=2`, 'dev', a), `x=1\r\nDev=${a}\r\ny=2`);
    assert.equal(withPin(`x=1\ndev=${b}`, 'dev', a), `x=1\ndev=${a}\n`);
    assert.equal(withPin(`x\n  dev =zz\ny\n`, 'dev', a), `x\ndev=${a}\ny\n`);
  });

  test('replaces the last of several lines, and removes the others', () => {
    assert.equal(withPin(`dev=1\nx\ndev=2\ny\ndev=3\nz\n`, 'dev', a), `x\ny\ndev=${a}\nz\n`);
  });

  test('removes every line of the VM and no other', () => {
    assert.equal(withoutPin(`dev=1\n#dev\nDEV=2\n dev\ndev-2=3\n\n`, 'dev'), `#dev\ndev-2=3\n\n`);
  });

  const line = fc.oneof(
    fc.constantFrom(`dev=${a}`, `Dev=${b}`, ' dev', 'dev =', '#dev', '', 'x=1', `dev-2=${a}`),
    fc.string({ unit: fc.integer({ min: 1, max: 255 }).map((code) => String.fromCharCode(code)) }),
  );
  const texts = fc
    .tuple(fc.array(line), fc.constantFrom('\n', '\r\n'), fc.boolean())
    .map(([lines, end, ended]) => lines.join(end) + (ended ? end : ''));

  test('for any file: finds a pin after it was set, and none after it was removed', () => {
    fc.assert(
      fc.property(texts, (text) => {
        const pinned = withPin(text, 'dev', a);
        assert.deepEqual(findPin(pinned, 'dev'), { kind: 'pin', fingerprint: a });
        assert.deepEqual(findPin(withoutPin(pinned, 'dev'), 'dev'), { kind: 'absent' });
        assert.equal(withPin(pinned, 'dev', a), pinned);
      }),
    );
  });

  test('for any file: keeps the other lines byte for byte and in order', () => {
    const others = (text: string) =>
      withoutPin(text.endsWith('\n') || text === '' ? text : `${text}\n`, 'dev');
    fc.assert(fc.property(texts, (text) => assert.equal(others(withPin(text, 'dev', a)), others(text))));
  });

  test('reading never throws, and only a complete fingerprint is a pin', () => {
    fc.assert(
      fc.property(texts, (text) => {
        const finding = findPin(text, 'dev');
        if (finding.kind === 'pin') assert.match(finding.fingerprint, /^SHA256:[A-Za-z0-9+/]{43}$/);
        assert.deepEqual(findPins(text).get('dev') ?? { kind: 'absent' }, finding);
      }),
    );
  });
});
