import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { parseHostKey } from '../../src/ssh/hostkey.ts';
import { randomart } from '../../src/ssh/randomart.ts';
import { encodeString } from '../../src/ssh/wire.ts';
import { generateKey, readBlob, temporaryDirectory } from './keygen.ts';

const kinds = [
  '-t ed25519',
  '-t ecdsa -b 256',
  '-t ecdsa -b 384',
  '-t ecdsa -b 521',
  '-t rsa -b 1024',
  '-t rsa -b 3072',
];
for (const options of kinds) {
  test(`the picture of a key of ${options} is the one that ssh-keygen draws`, (t) => {
    const directory = temporaryDirectory(t);
    const path = generateKey(directory, options);
    const printed = execFileSync('ssh-keygen', ['-l', '-v', '-f', path], { encoding: 'utf8' });
    assert.equal(randomart(parseHostKey(readBlob(path))), printed.trimEnd().split('\n').slice(1).join('\n'));
  });
}

test('fifty ed25519 keys have the pictures that ssh-keygen draws', (t) => {
  const directory = temporaryDirectory(t);
  for (let count = 0; count < 50; count++) {
    const path = `${directory}/${count}`;
    execFileSync('ssh-keygen', ['-q', '-N', '', '-t', 'ed25519', '-f', path]);
    const printed = execFileSync('ssh-keygen', ['-l', '-v', '-f', path], { encoding: 'utf8' });
    assert.equal(randomart(parseHostKey(readBlob(path))), printed.trimEnd().split('\n').slice(1).join('\n'));
  }
});

test('the picture of a key with a long type keeps its shape', () => {
  const key = parseHostKey(Buffer.concat([encodeString('sk-ssh-ed25519@openssh.com'), encodeString('x')]));
  const lines = randomart(key).split('\n');
  assert.equal(lines.length, 11);
  for (const line of lines) assert.equal(line.length, 19);
});
