/** The file of the setting `identity`. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { readIdentity } from '../../src/agent/credentials/own.ts';

describe('an identity', () => {
  const directory = mkdtempSync(join(tmpdir(), 'mint-identity-'));
  after(() => rmSync(directory, { recursive: true, force: true }));

  const keygen = (name: string, ...words: readonly string[]) => {
    const file = join(directory, name);
    execFileSync('ssh-keygen', ['-q', '-N', '', '-C', 'me@home $(x)', ...words, '-f', file]);
    return { file, line: readFileSync(`${file}.pub`, 'utf8').trim() };
  };
  const ed = keygen('ed', '-t', 'ed25519');
  const rsa = keygen('rsa', '-t', 'rsa', '-b', '2048');
  const small = keygen('small', '-t', 'rsa', '-b', '1024');
  const written = (text: string) => {
    const path = join(directory, 'written.pub');
    writeFileSync(path, text);
    return path;
  };
  const bare = (line: string) => line.split(' ').slice(0, 2).join(' ');

  test('returns the line without the comment, for Ed25519 and RSA', () => {
    for (const { file, line } of [ed, rsa]) {
      const listed = execFileSync('ssh-keygen', ['-lf', `${file}.pub`], { encoding: 'utf8' });
      const { line: pushed, fingerprint } = readIdentity(`${file}.pub`);
      assert.equal(pushed, bare(line));
      assert.ok(listed.includes(` ${fingerprint} `));
    }
    assert.equal(readIdentity(written(`# mine\r\n\r\n${ed.line}\r\n`)).line, bare(ed.line));
  });

  const [type = '', base64 = ''] = ed.line.split(' ');
  const cases: readonly (readonly [string, string, string])[] = [
    ['a private key', readFileSync(ed.file, 'utf8'), 'key-private'],
    ['two keys', `${ed.line}\n${rsa.line}\n`, 'key-invalid'],
    ['nothing', '', 'key-invalid'],
    ['options before the key', `no-pty ${ed.line}`, 'key-invalid'],
    ['a small RSA key', small.line, 'key-invalid'],
    ['another type than its bytes say', `ssh-rsa ${base64}`, 'key-invalid'],
    ['a key that is cut off', `${type} ${base64.slice(0, 40)}`, 'key-invalid'],
    ['a key with more behind it', `${type} ${base64}AAAA`, 'key-invalid'],
    ['text', 'hello\n', 'key-invalid'],
    ['an SSH2 file', '---- BEGIN SSH2 PUBLIC KEY ----\nAAAA\n---- END SSH2 PUBLIC KEY ----\n', 'key-invalid'],
  ];
  for (const [what, text, code] of cases) {
    test(`refuses ${what}`, () => {
      assert.throws(() => readIdentity(written(text)), { code });
    });
  }

  test('refuses a missing file', () => {
    assert.throws(() => readIdentity(join(directory, 'none.pub')), { code: 'bad-settings' });
  });
});
