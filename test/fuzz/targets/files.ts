/** The files that decide about trust, settings and logins. */
import assert from 'node:assert/strict';
import { findRunDir } from '../../../src/platform/paths.ts';
import { readTables } from '../../../src/settings/settings-file.ts';
import { settingsKeys } from '../../../src/settings/settings-keys.ts';
import { vmName } from '../../../src/settings/vm-name.ts';
import { parseHostKey } from '../../../src/ssh/hostkey.ts';
import { addInclude, inspectInclude, muteInclude, removeInclude } from '../../../src/ssh-config/include.ts';
import { quoteInclude } from '../../../src/ssh-config/quote.ts';
import { findPin, findPins, isFingerprint, withoutPin, withPin } from '../../../src/trust/known-hosts.ts';
import { formatRecord, parseRecord } from '../../../src/trust/record.ts';
import { ed25519Blob, fingerprint } from '../material.ts';
import { attempt, Refusal, type Target } from '../target.ts';

export const knownHosts: Target = {
  name: 'known-hosts',
  seeds: () => [
    Buffer.from(`dev=${fingerprint}\n# mine\n\nbuild=${fingerprint}\n`),
    Buffer.from(`\u00ef\u00bb\u00bfDev=${fingerprint}\r\ndev=\r\n`, 'latin1'),
    Buffer.from(`dev-2=${fingerprint}\ndev =${fingerprint}\ndev`),
    // Found by the fuzzer: the second line became the first, and was read differently there.
    Buffer.from('dev=\n\xef\xbb\xbfDev', 'latin1'),
  ],
  dictionary: ['dev', 'DEV', 'dev=', '=', '#', '\n', '\r\n', ' ', '\t', fingerprint, 'SHA256:', '\0', '\xa0'],
  longest: 1024,
  run(input) {
    const text = input.toString('latin1');
    const finding = findPin(text, 'dev');
    const all = findPins(text);
    for (const [name, found] of all) {
      if (found.kind === 'pin') assert.ok(isFingerprint(found.fingerprint));
      if (isName(name)) assert.deepEqual(findPin(text, name), found);
    }
    assert.deepEqual(all.get('dev') ?? { kind: 'absent' }, finding);
    const pinned = withPin(text, 'dev', fingerprint);
    assert.deepEqual(findPin(pinned, 'dev'), { kind: 'pin', fingerprint });
    assert.equal(withPin(pinned, 'dev', fingerprint), pinned);
    assert.deepEqual(findPin(withoutPin(text, 'dev'), 'dev'), { kind: 'absent' });
    for (const [name, found] of findPins(pinned))
      if (name !== 'dev' && found.kind !== 'bad') assert.deepEqual(found, all.get(name));
    return finding.kind === 'bad' ? finding.reason.replace(/"[^"]*"/g, '""') : finding.kind;
  },
};

function isName(name: string): boolean {
  return !(attempt(['bad-vm-name'], () => vmName(name)) instanceof Refusal) && name === name.toLowerCase();
}

const sshConfig = '/home/me/.config/mint/ssh_config';
const include = quoteInclude(sshConfig);

/** The user's own ssh config, to which our line is added and from which it is removed. */
export const userSshConfig: Target = {
  name: 'ssh-config',
  seeds: () => {
    const own = Buffer.from('# mine\nHost *\n  User me\nHost dev\n\tHostName 203.0.113.7\n');
    return [
      own,
      addInclude(own, include),
      addInclude(undefined, include),
      Buffer.from(`Host *\r\nInclude ${sshConfig}\r\n`),
    ];
  },
  dictionary: [
    ...[
      'Host ',
      'Match all',
      'Include ',
      '\n',
      '\r\n',
      '#',
      '\xef\xbb\xbf',
      '\0',
      '\t',
      '=',
      '"',
      `Include ${include}\n`,
    ],
    sshConfig,
    '# mint-ssh: for `ssh VM`; `mint-ssh ssh-config --remove` takes these two lines out',
    '# mint-ssh made this file for `ssh VM`; `mint-ssh ssh-config --remove` undoes it',
  ],
  longest: 1024,
  run(input) {
    const state = inspectInclude(input, include, sshConfig);
    const rest = removeInclude(input, include);
    assert.deepEqual(removeInclude(rest, include), rest, 'some of ours was left');
    const added = addInclude(input, include);
    assert.ok(inspectInclude(added, include, sshConfig).inPlace);
    assert.deepEqual(addInclude(added, include), added);
    // Of a file that we made nothing is left, of one that is the user's every byte.
    assert.deepEqual(removeInclude(added, include), rest);
    const muted = muteInclude(input, include, sshConfig);
    assert.equal(linesOf(muted), linesOf(input), 'a line has another number');
    assert.equal(inspectInclude(muted, include, sshConfig).byHand, undefined);
    return `${state.inPlace} ${state.byHand === undefined} ${state.byHand?.under === undefined} ${rest === undefined}`;
  },
};

function linesOf(bytes: Buffer): number {
  return bytes.toString('latin1').match(/[^\n]*\n|[^\n]+$/g)?.length ?? 0;
}

export const settings: Target = {
  name: 'ssh-toml',
  seeds: () => [
    Buffer.from('user = "me"\nport = 22\n[vm.dev]\ninstance = "i-0123456789abcdef0"\nhost = "203.0.113.7"\n'),
    Buffer.from('run_dir = "/run/mint"\nvm.dev.port = 22\n[vm."build-2"]\nverify = "console"\n'),
    Buffer.from('vm = { dev = { host = "x.internal", require_binding = true } }\n'),
    Buffer.from('multiplex = "10m"\nroute = "auto"\nstart = \'ask\'\n[vm.Dev]\n[vm.dev]\n'),
  ],
  dictionary: [
    ...Object.keys(settingsKeys),
    ...['[vm.', ']', '[[', ' = ', '"', '"""', "'", '\n', '\\u0041', '0x10', '1e3', 'inf', '{', '}', ',', '#'],
    ...['1979-05-27', 'true', 'vm', 'dev', '.', '\ufeff', '_', '-0', '0o7', '[1,2]'],
  ],
  longest: 1024,
  run(input) {
    const text = input.toString('utf8');
    const codes = ['bad-settings', 'bad-vm-name', 'vm-ambiguous'] as const;
    const tables = attempt(codes, () => readTables(text, 'ssh.toml'));
    findRunDir(text);
    if (tables instanceof Refusal) {
      assert.match(tables.message, /^ssh\.toml:\d+: /, 'a complaint without its line');
      return tables.words;
    }
    const { top, vms } = tables;
    for (const [name, table] of vms) {
      assert.equal(vmName(name), name);
      for (const [key, { value }] of table.values) assert.ok(settingsKeys[key]?.accepts(value));
    }
    for (const [key, { value }] of top) assert.ok(settingsKeys[key]?.accepts(value));
    return `${[...top.keys()].slice(0, 2)} ${vms.size}`;
  },
};

const record = {
  version: 1,
  fingerprint: parseHostKey(ed25519Blob).fingerprint,
  key: ed25519Blob.toString('base64'),
  type: 'ssh-ed25519',
  proof: 'client',
  instance: 'i-0123456789abcdef0',
  account: '123456789012',
  region: 'us-east-1',
  firstSeen: '2026-01-01T00:00:00.000Z',
};

/** `hosts/<vm>.json`. */
export const trustRecord: Target = {
  name: 'record',
  seeds: () => [
    Buffer.from(JSON.stringify({ version: 1, fingerprint, later: { a: [1] } })),
    Buffer.from(JSON.stringify(record)),
    Buffer.from(JSON.stringify({ version: 1, refused: { key: record.key, seenAt: 'now', region: 'x' } })),
    Buffer.from('{"version":2}'),
  ],
  dictionary: [
    ...Object.keys(record),
    ...['"', '":', ',', '{', '}', '[', ']', 'null', '1', '"refused":', 'seenAt', 'first-use', 'console'],
    ...['pinnedAt', 'lastLogin', '"__proto__":{}', fingerprint, record.key],
  ],
  longest: 2048,
  run(input) {
    const text = input.toString('utf8');
    const codes = ['known-hosts-corrupt', 'io-failed'] as const;
    const read = attempt(codes, () => parseRecord(text, '/hosts/dev.json'));
    if (read instanceof Refusal) return read.words;
    const again = parseRecord(formatRecord(read), '/hosts/dev.json');
    assert.equal(formatRecord(again), formatRecord(read));
    return `${read.keys[0]?.evidence ?? 'no evidence'} ${read.refused.length} ${read.console === undefined}`;
  },
};
