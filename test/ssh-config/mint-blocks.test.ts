import assert from 'node:assert/strict';
import { test } from 'node:test';
import { withoutMintBlocks } from '../../src/ssh-config/mint-blocks.ts';
import { mintBlock } from './mint-block.ts';

const without = (text: string) => withoutMintBlocks(Buffer.from(text, 'latin1')).toString('latin1');

test('comments out an unmodified block of Mint, and keeps the line numbers', () => {
  const before = `# mine\n${mintBlock('dev')}Host x\n  User é\n`;
  const after = without(before);
  assert.doesNotMatch(after, /Host mint-dev/);
  assert.ok(after.endsWith('Host x\n  User é\n'));
  assert.equal(after.split('\n').length, before.split('\n').length);
});

test('does not change an edited or incomplete block', () => {
  const whole = mintBlock('dev');
  for (const text of [
    whole.replace('ubuntu', 'me'),
    whole.slice(0, whole.indexOf('# mint:end')),
    whole.replace('# mint:end dev', '# mint:end other'),
    whole.slice(0, whole.indexOf('# mint:checksum')),
    '# mint:begin dev\n# mint:end dev\n',
    'Host *\n  User me',
    '',
  ]) {
    assert.equal(without(text), text);
  }
});
