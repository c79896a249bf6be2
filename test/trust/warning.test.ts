import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { changedKeyWarning } from '../../src/trust/warning.ts';
import { ecdsaKey, ed25519Key } from './place.ts';

const [key, presented] = [ed25519Key(), ed25519Key()];
const pinned = {
  fingerprint: key.fingerprint,
  key,
  type: key.type,
  pinnedAt: '2026-01-02T03:04:05.678Z',
  instance: 'i-0123456789abcdef0',
};

const inAnotherAccount = { ...pinned, account: '111122223333', region: 'us-east-1' };

describe('the warning about a changed key', () => {
  test('names the VM, both fingerprints, the date, the likely cause and the way to accept', () => {
    const text = changedKeyWarning('dev', { pinned, presented, isMintVm: true });
    for (const part of [
      'VM:       dev\n',
      key.fingerprint,
      presented.fingerprint,
      '2026-01-02 03:04 UTC',
      'i-0123456789abcdef0',
      'Did you recently run `mint recreate`?',
      `  mint-ssh hosts accept dev ${presented.fingerprint}\n`,
      'WARNING: THE HOST KEY OF THIS VM HAS CHANGED',
    ]) {
      assert.ok(text.includes(part), part);
    }
  });

  test('shows if only the fingerprint of the pinned key is known', () => {
    const text = changedKeyWarning('dev', { pinned: { fingerprint: key.fingerprint }, presented });
    assert.match(text, /written by Mint/);
  });

  test('is plain ASCII and at most 80 columns wide, for any record', () => {
    const hostile = { ...pinned, type: `\x1b[2J${'t'.repeat(300)}`, instance: `\u202e${'i'.repeat(300)}\n` };
    for (const vm of ['d', 'dev', 'develop', 'd'.repeat(63)]) {
      for (const one of [
        pinned,
        hostile,
        { fingerprint: key.fingerprint, instance: 'i-1' },
        inAnotherAccount,
      ]) {
        const place = { instance: 'i-0fedcba9876543210', account: '999988887777', region: 'us-east-1' };
        const text = changedKeyWarning(vm, { pinned: one, presented: ecdsaKey(), ...place });
        assert.match(text, /^[\x20-\x7e\n]+$/);
        assert.ok(
          text.split('\n').every((line) => line.length <= 80),
          text,
        );
      }
    }
  });

  test('of a VM in another account explains how to use both, and does not mention recreation', () => {
    const place = { instance: 'i-0fedcba9876543210', account: '999988887777', region: 'us-east-1' };
    const text = changedKeyWarning('dev', { pinned: inAnotherAccount, presented, ...place }).replaceAll(
      /\s+/g,
      ' ',
    );
    assert.match(
      text,
      /do not accept the key, and give one of them a name of its own in ssh\.toml: \[vm\.NAME\]/,
    );
    assert.match(text, /with instance = "i-0fedcba9876543210"/);
    assert.doesNotMatch(text, /mint recreate/);
  });

  test('has a command that can be copied to a shell, also if it is split', () => {
    for (const vm of ['dev', 'd'.repeat(63)]) {
      const text = changedKeyWarning(vm, { pinned, presented });
      const command = text
        .slice(text.indexOf('  mint-ssh hosts accept'))
        .replace(/=+$/, '')
        .replaceAll('\\\n', ' ');
      assert.deepEqual(command.trim().split(/ +/), [
        'mint-ssh',
        'hosts',
        'accept',
        vm,
        presented.fingerprint,
      ]);
    }
  });
});
