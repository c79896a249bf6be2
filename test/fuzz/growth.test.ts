/** Parsing takes linear time, not quadratic. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MintError } from '../../src/errors.ts';
import { authorizedKeys } from '../../src/keys/authorized-keys.ts';
import { parseKeyFile } from '../../src/keys/store/key-file.ts';
import { blobOfLine } from '../../src/keys/store/key-type.ts';
import { parseMetadata } from '../../src/keys/store/metadata.ts';
import { findRunDir } from '../../src/platform/paths.ts';
import { readTables } from '../../src/settings/settings-file.ts';
import { addInclude, inspectInclude, muteInclude } from '../../src/ssh-config/include.ts';
import { quoteInclude } from '../../src/ssh-config/quote.ts';
import { findPin, findPins, withoutPin, withPin } from '../../src/trust/known-hosts.ts';
import { parseRecord } from '../../src/trust/record.ts';
import { parseScopes } from '../../src/vms/vm-cache.ts';
import { fingerprint } from './material.ts';
import { targets } from './targets.ts';

interface Reader {
  /** The size of the input in bytes: large enough for quadratic time to show. */
  readonly bytes: number;
  readonly read: (text: string) => unknown;
}

const path = '/home/me/.config/mint/ssh_config';
const include = quoteInclude(path);
const readers: Readonly<Record<string, Reader>> = {
  'known-hosts': {
    bytes: 1 << 16,
    read: (text) => {
      findPins(text);
      findPin(text, 'dev');
      withPin(text, 'dev', fingerprint);
      withoutPin(text, 'dev');
    },
  },
  'ssh-config': {
    bytes: 1 << 16,
    read: (text) => {
      const bytes = Buffer.from(text);
      inspectInclude(bytes, include, path);
      muteInclude(bytes, include, path);
      addInclude(bytes, include);
    },
  },
  'ssh-toml': {
    bytes: 1 << 16,
    read: (text) => {
      findRunDir(text);
      readTables(text, 'ssh.toml');
    },
  },
  record: { bytes: 1 << 16, read: (text) => parseRecord(text, '/hosts/dev.json') },
  'authorized-keys': { bytes: 1 << 16, read: (text) => authorizedKeys(Buffer.from(text)) },
  'key-file': { bytes: 1 << 16, read: (text) => parseKeyFile(Buffer.from(text)) },
  'public-line': { bytes: 1 << 16, read: blobOfLine },
  metadata: { bytes: 1 << 16, read: parseMetadata },
  'vm-cache': { bytes: 1 << 16, read: parseScopes },
};

/** A linear one takes some milliseconds; a quadratic one, minutes. */
const limit = 4000;

for (const [name, { bytes, read }] of Object.entries(readers)) {
  const words = targets.find((target) => target.name === name)?.dictionary.map(String) ?? assert.fail(name);
  test(`${name}: no word, repeated to ${bytes} bytes, takes long or throws an unexpected error`, () => {
    for (const word of [...words, ' ', '\t', 'a', '"', '\\', 'dev ', 'a=\n', '[', '{"a":']) {
      for (const [before, after] of [
        ['', ''],
        ['dev', 'x\n'],
      ]) {
        const text = `${before}${word.repeat(Math.ceil(bytes / word.length))}${after}`;
        const start = performance.now();
        try {
          read(text);
        } catch (error) {
          if (!(error instanceof MintError)) throw error;
        }
        const milliseconds = performance.now() - start;
        assert.ok(
          milliseconds < limit,
          `${milliseconds.toFixed(0)} ms for ${JSON.stringify([before, word, after])}`,
        );
      }
    }
  });
}

test('ssh-toml: a file of maximum size gets our error, not the parser’s', () => {
  const most = 300_000;
  const key = 'a.'.repeat(most / 2);
  for (const [text, form] of [
    [`x = ${'['.repeat(most)}`, /^ssh\.toml:1: /],
    [`[vm.a]\nx = ${'{a='.repeat(most / 3)}`, /^ssh\.toml:\d: /],
    [`x = "${'\\\\'.repeat(most / 2)}"`, /^ssh\.toml:1: .*too long/],
    [`${key}b = 1`, /^ssh\.toml:1: a key has 150001 parts/],
  ] as const) {
    assert.throws(
      () => readTables(text, 'ssh.toml'),
      (error) => error instanceof MintError && error.code === 'bad-settings' && form.test(error.message),
    );
  }
});
