import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { readConsoleKeys } from '../../src/trust/console-host-keys.ts';
import { makeHostKey } from '../openssh/host-keys.ts';
import { usualHostKeyTypes } from '../openssh/sshd.ts';
import { bootConsole, consoleForms, oldConsole } from './console.ts';

const directory = mkdtempSync(join(tmpdir(), 'console-'));
after(() => rmSync(directory, { recursive: true }));
const keys = usualHostKeyTypes.map((type) => makeHostKey(join(directory, type), type));
const fingerprints = keys.map(({ fingerprint }) => fingerprint).sort();

describe('a console that shows three host keys', () => {
  for (const form of consoleForms) {
    for (const withoutFingerprints of [false, true]) {
      test(`is read in the form "${form}"${withoutFingerprints ? ', without fingerprints' : ''}`, () => {
        const text = bootConsole(
          keys.map(({ line }) => line),
          { form, withoutFingerprints },
        );
        assert.ok(text.length < 64 * 1024);
        const read = readConsoleKeys(text).keys.map(({ fingerprint }) => fingerprint);
        assert.deepEqual(read.sort(), fingerprints);
      });
    }
  }
});

test('the console of a machine that has been up for long shows no key, and does not start at its boot', () => {
  const { keys: read, startsAtBoot } = readConsoleKeys(oldConsole().slice(-64 * 1024));
  assert.deepEqual([read, startsAtBoot], [[], false]);
});
