/** Answers of AWS, or of a server in its place. */
import assert from 'node:assert/strict';
import { isIP } from 'node:net';
import { printable } from '../../../src/cli/terminal.ts';
import { instancePattern } from '../../../src/settings/vm-name.ts';
import { readConsoleKeys } from '../../../src/trust/console-host-keys.ts';
import { parseScopes } from '../../../src/vms/vm-cache.ts';
import { ed25519Line, fingerprint } from '../material.ts';
import type { Target } from '../target.ts';

const frame = (kind: string, ...lines: readonly string[]) =>
  [`-----BEGIN SSH HOST KEY ${kind}-----`, ...lines, `-----END SSH HOST KEY ${kind}-----`, ''].join('\r\n');

export const consoleOutput: Target = {
  name: 'console',
  seeds: () => [
    Buffer.from(`[    0.000000] Linux version 6.1\r\n${frame('KEYS', `${ed25519Line} root@ip-10-0-0-1`)}`),
    Buffer.from(
      frame(
        'FINGERPRINTS',
        `256 ${fingerprint} root@ip (ED25519)`,
        `<14>ec2: 3072 ${fingerprint} no comment (RSA)`,
      ) + frame('KEYS', `ec2: ${ed25519Line}`),
    ),
    Buffer.from(`\u001b[0;32mJan  1 00:00:00 cloud-init[12]: ${frame('KEYS', 'ecdsa-sha2-nistp256 AAAA')}`),
  ],
  dictionary: [
    ...[
      '-----BEGIN SSH HOST KEY KEYS-----',
      '-----END SSH HOST KEY KEYS-----',
      '-----BEGIN SSH HOST KEY FINGERPRINTS-----',
    ],
    ...[
      '-----END SSH HOST KEY FINGERPRINTS-----',
      '\n',
      '\r\n',
      '\r',
      '\u001b[',
      '\u001b]',
      '\u0007',
      'ec2: ',
      '<14>',
    ],
    ...[
      '[    1.000000] ',
      'cloud-init[1]: ',
      ed25519Line,
      fingerprint,
      '(ED25519)',
      '(RSA)',
      '(ECDSA)',
      '256 ',
      'SeaBIOS (',
    ],
  ],
  longest: 8192,
  run(input) {
    const text = input.toString('utf8');
    const { keys, isWhole, startsAtBoot } = readConsoleKeys(text);
    assert.equal(new Set(keys.map(({ type }) => type)).size, keys.length, 'two keys of one type');
    for (const { fingerprint: shown } of keys) assert.match(shown, /^SHA256:[A-Za-z0-9+/]{43}$/);
    assert.ok(keys.length > 0 || !isWhole, 'a whole block without a key');
    return `${keys.length} ${isWhole} ${startsAtBoot}`;
  },
};

/** `cache/vms.json`. */
export const vmCache: Target = {
  name: 'vm-cache',
  seeds: () => [
    Buffer.from(
      JSON.stringify({
        version: 1,
        scopes: {
          'us-east-1 work': {
            owner: 'me',
            listedAt: 1,
            usedAt: 2,
            vms: {
              dev: {
                ...{
                  name: 'dev',
                  found: 'tag',
                  instance: 'i-0123456789abcdef0',
                  state: 'running',
                  account: '1',
                },
                ...{ region: 'us-east-1', publicAddress: '203.0.113.7', ipv6: '2001:db8::1', seenAt: 1 },
              },
            },
          },
        },
      }),
    ),
  ],
  dictionary: [
    ...[
      '"version":1',
      '"scopes":{',
      '"vms":{',
      'found',
      'name-tag',
      'state',
      'stopped',
      'seenAt',
      'owner',
      'bootstrap',
    ],
    ...['"', ':', ',', '{', '}', '[', ']', 'null', '-1', '1e999', '"__proto__":', '::1', '0', 'i-01234567'],
  ],
  longest: 2048,
  run(input) {
    const scopes = parseScopes(input.toString('utf8'));
    const all = [...scopes.values()].flatMap(({ vms }) => [...vms.values()]);
    for (const vm of all) {
      assert.match(vm.instance, instancePattern);
      for (const address of [vm.publicAddress, vm.privateAddress, vm.ipv6])
        assert.ok(address === undefined || isIP(address) !== 0);
    }
    return `${Math.min(scopes.size, 2)} ${Math.min(all.length, 2)} ${all[0]?.found} ${all[0]?.state}`;
  },
};

/** Text that is printed on a terminal. */
export const terminalText: Target = {
  name: 'terminal',
  seeds: () => [
    Buffer.from('plain text'),
    Buffer.from('a tag\u001b[31m \u202e \u{e0001} \ufeff end'),
    Buffer.from([0xff, 0xfe, 0x00, 0x41]),
  ],
  dictionary: [
    '\u001b]0;',
    '\u0007',
    '\u009b',
    '\u2066',
    '\u200b',
    '\r',
    '\n',
    '\u{1f600}',
    Buffer.from([0xed, 0xa0]),
  ],
  longest: 512,
  run(input) {
    const shown = printable(input.toString('utf8'));
    assert.doesNotMatch(shown, /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u);
    assert.equal(printable(shown), shown);
    return String(shown.length === input.length);
  },
};
