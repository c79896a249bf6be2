import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { signatureOf, withoutSignature } from '../../build/authenticode.ts';
import { nodeFor, targets } from '../../build/node-builds.ts';
import { root } from './packaging.ts';

test('removes the signature of Node for Windows, and leaves the program unchanged', () => {
  const { binary } = nodeFor(targets['win-x64'] ?? assert.fail(), join(root, 'dist/nodes'));
  const signed = readFileSync(binary);
  const { offset, size } = signatureOf(signed);
  assert.ok(size > 1000 && offset + size === signed.length, `${size} bytes at ${offset}`);
  const unsigned = withoutSignature(signed);
  assert.deepEqual(signatureOf(unsigned), { offset: 0, size: 0 });
  assert.equal(unsigned.length, offset);
  // All but the eight bytes that told of the signature.
  let changed = 0;
  for (let at = 0; at < 4096; at += 1) changed += unsigned[at] === signed[at] ? 0 : 1;
  assert.ok(changed > 0 && changed <= 8, `${changed} bytes changed`);
  assert.ok(unsigned.subarray(4096).equals(signed.subarray(4096, offset)));
  assert.equal(withoutSignature(unsigned), unsigned);
});

test('refuses a file that is not an executable for 64-bit Windows', () => {
  const header = Buffer.alloc(512);
  header.writeUInt32LE(128, 0x3c);
  assert.throws(() => withoutSignature(header), /no PE executable/);
  header.write('PE\0\0', 128, 'latin1');
  header.writeUInt16LE(0x10b, 128 + 24);
  assert.throws(() => withoutSignature(header), /no 64-bit executable/);
  header.writeUInt16LE(0x20b, 128 + 24);
  header.writeUInt32LE(300, 128 + 24 + 144);
  header.writeUInt32LE(100, 128 + 24 + 148);
  assert.throws(() => withoutSignature(header), /not the end/);
});
