/** How paths and words are written into an ssh config: each form, and what is refused. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  isWritablePath,
  quoteInclude,
  quotePath,
  quoteProgram,
  quoteWord,
} from '../../src/ssh-config/quote.ts';
import { refusal } from '../platform/directory.ts';

const unsafe = refusal('ssh-config-unsafe');
/** One character of each class that is refused in a path. */
const special = ['$', '`', '"', '\n', '\u0000', '\u007f', '\u0085', '\u2028', '\u2029'];

describe('on Unix', () => {
  test('a path is in double quotes, with its percent signs doubled', () => {
    for (const quote of [quotePath, quoteProgram]) {
      assert.equal(quote('/opt/mint-ssh', 'linux'), '"/opt/mint-ssh"');
      assert.equal(quote('/a b/%h%%', 'linux'), '"/a b/%%h%%%%"');
      assert.equal(quote("/o'x*?[y]", 'darwin'), '"/o\'x*?[y]"');
    }
  });

  test('the path of an Include is a pattern that matches it alone', () => {
    assert.equal(quoteInclude('/a b/mint', 'linux'), '"/a b/mint"');
    assert.equal(quoteInclude('/a*b?c[d]/%h%', 'linux'), '"/a\\*b\\?c\\[d\\]/[$-&]h[$-&]"');
  });

  test('a path that is not absolute, or has a special character, is refused', () => {
    for (const path of [
      '',
      'opt/mint-ssh',
      './x',
      'C:/x',
      '\\x',
      ...special.map((one) => `/a${one}b`),
      '/a\\b',
    ]) {
      for (const quote of [quotePath, quoteProgram, quoteInclude])
        assert.throws(() => quote(path, 'linux'), unsafe, JSON.stringify(path));
      assert.equal(isWritablePath(path, 'linux'), false, JSON.stringify(path));
    }
    for (const path of ['/', '/opt/mint ssh', '/*?[]%'])
      assert.equal(isWritablePath(path, 'linux'), true, path);
  });

  test('a refusal says what is wrong with the path', () => {
    const message = (path: string) => {
      try {
        return quotePath(path, 'linux');
      } catch (error) {
        return (error as Error).message;
      }
    };
    // Three different reasons. The words are free.
    assert.equal(new Set([message('/a$b'), message('/a\nb'), message('a')]).size, 3);
    assert.ok(message('/a$b').endsWith('$'), message('/a$b'));
    // A control character is named and not shown.
    assert.doesNotMatch(message('/a\u0085b').slice(message('/a\u0085b').indexOf(':')), /\u0085/);
    for (const one of ['\u0085', '\u2028', '\u2029'])
      assert.equal(message(`/a${one}b`).split(': ')[1], message('/a\nb').split(': ')[1]);
  });

  test('a word is in single quotes for the shell', () => {
    assert.equal(quoteWord('dev', 'linux'), "'dev'");
    assert.equal(quoteWord("a'b'c", 'linux'), "'a'\\''b'\\''c'");
    assert.equal(quoteWord('%h $(id) "x" \\', 'linux'), '\'%%h $(id) "x" \\\'');
  });
});

describe('on Windows', () => {
  test('a path has slashes, and quotes', () => {
    assert.equal(quotePath('C:\\Users\\me\\%x', 'win32'), '"C:/Users/me/%%x"');
    assert.equal(quotePath('\\\\.\\pipe\\mint', 'win32'), '"//./pipe/mint"');
    assert.equal(quotePath('d:/x', 'win32'), '"d:/x"');
  });

  test('the program has no quotes where it needs none', () => {
    assert.equal(quoteProgram('C:\\Mint\\mint-ssh.exe', 'win32'), 'C:/Mint/mint-ssh.exe');
    assert.equal(quoteProgram('C:\\Zoë_1.+~\\m', 'win32'), 'C:/Zoë_1.+~/m');
    for (const path of ['C:\\a b', 'C:\\a&b', 'C:\\a^b', 'C:\\a%b', 'C:\\ab ', 'C:\\(ab)'])
      assert.match(quoteProgram(path, 'win32'), /^".*"$/, path);
  });

  test('an Include with a character that is special in a pattern is refused', () => {
    assert.equal(quoteInclude('C:\\a b\\mint', 'win32'), '"C:/a b/mint"');
    for (const one of ['*', '?', '[', ']', '%', ...special])
      assert.throws(() => quoteInclude(`C:\\a${one}b`, 'win32'), unsafe, one);
  });

  test('a path without a drive or a leading //, or with a special character, is refused', () => {
    for (const path of [
      'x',
      '/x',
      'C:x',
      '1:/x',
      'CC:/x',
      'xC:/x',
      'a//b',
      ...special.map((one) => `C:/a${one}b`),
    ]) {
      assert.throws(() => quotePath(path, 'win32'), unsafe, JSON.stringify(path));
      assert.equal(isWritablePath(path, 'win32'), false, path);
    }
    for (const path of ['C:\\x', 'z:/x', '\\\\.\\pipe\\x'])
      assert.equal(isWritablePath(path, 'win32'), true, path);
  });

  test('a word is in double quotes, and refused where those cannot carry it', () => {
    assert.equal(quoteWord('dev', 'win32'), '"dev"');
    assert.equal(quoteWord('a b\\c %h', 'win32'), '"a b\\c %%h"');
    for (const word of ['a"b', 'a\nb', 'a\\', '\u0085'])
      assert.throws(() => quoteWord(word, 'win32'), unsafe, JSON.stringify(word));
  });
});

test('a refusal says what to do', () => {
  assert.throws(() => quotePath('/a$b', 'linux'), { hint: /--config-dir/ });
  assert.throws(() => quoteWord('a"b', 'win32'), { hint: /use a name/ });
});

test('a refusal names what it found', () => {
  for (const path of ['/a\nb', 'a'])
    assert.throws(() => quotePath(path, 'linux'), { message: /: it (has|is) .*\w/ });
});

test('the platform is the machine’s own by default', () => {
  assert.equal(quotePath('/x'), quotePath('/x', process.platform));
  assert.equal(quoteProgram('/x'), quoteProgram('/x', process.platform));
  assert.equal(quoteInclude('/x'), quoteInclude('/x', process.platform));
  assert.equal(quoteWord('x'), quoteWord('x', process.platform));
});
