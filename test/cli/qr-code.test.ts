import assert from 'node:assert/strict';
import { test } from 'node:test';
import { qrCode } from '../../src/cli/qr-code.ts';
import { readTerminalQr } from './terminal-qr.ts';

const links = [
  'ssh://ubuntu@203.0.113.7:22',
  'ssh://ec2-user@ec2-203-0-113-7.eu-central-1.compute.amazonaws.com:41122',
  'ssh://admin@[2001:db8:85a3::8a2e:370:7334]:22',
  'ssh://a%20name%C3%A9@dev.example.org:65535',
];

test('a scanner reads the text of the code, with colours and without', () => {
  for (const link of links) {
    for (const hasColour of [true, false]) {
      const code = qrCode(link, { columns: 80, hasColour }) ?? assert.fail(link);
      assert.equal(readTerminalQr(code), link);
      assert.equal(code.includes('\u001b'), hasColour);
    }
  }
});

test('a terminal narrower than the code gets none', () => {
  const code = qrCode(links[0] ?? '', { columns: 80, hasColour: false }) ?? assert.fail();
  const width = [...(code.split('\n')[0] ?? '')].length;
  assert.ok(width <= 40, `${width}`);
  assert.ok(code.split('\n').every((line) => [...line].length === width));
  assert.equal(qrCode(links[0] ?? '', { columns: width, hasColour: false }), code);
  assert.equal(qrCode(links[0] ?? '', { columns: width - 1, hasColour: false }), undefined);
});
