/** The host keys in a console: the first complete block, and nothing that someone could have added later. */
import assert from 'node:assert/strict';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { describe, test } from 'node:test';
import { type HostKey, parseHostKey } from '../../src/ssh/hostkey.ts';
import { readConsoleKeys } from '../../src/trust/console-host-keys.ts';
import { fc } from '../property.ts';

const string = (bytes: Buffer | string) => {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return Buffer.concat([length, Buffer.from(bytes)]);
};

const ed25519 = () => parseHostKey(Buffer.concat([string('ssh-ed25519'), string(randomBytes(32))]));

function rsa(): HostKey {
  const { n = '', e = '' } = generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey.export({
    format: 'jwk',
  });
  const numbers = [
    Buffer.from(e, 'base64url'),
    Buffer.concat([Buffer.alloc(1), Buffer.from(n, 'base64url')]),
  ];
  return parseHostKey(Buffer.concat([string('ssh-rsa'), ...numbers.map(string)]));
}

const [host, other] = [ed25519(), ed25519()];
const hostRsa = rsa();

const keyLine = ({ type, blob }: HostKey) => `${type} ${blob.toString('base64')} root@ip-10-0-0-1`;
const printLine = ({ type, fingerprint }: HostKey) =>
  `${type === 'ssh-rsa' ? 2048 : 256} ${fingerprint} root@ip-10-0-0-1 (${type === 'ssh-rsa' ? 'RSA' : 'ED25519'})`;
const block = (kind: 'KEYS' | 'FINGERPRINTS', lines: readonly string[]) => [
  `-----BEGIN SSH HOST KEY ${kind}-----`,
  ...lines,
  `-----END SSH HOST KEY ${kind}-----`,
];
const keysOf = (...keys: HostKey[]) => block('KEYS', keys.map(keyLine));
const printsOf = (...keys: HostKey[]) => block('FINGERPRINTS', keys.map(printLine));

const boot = [
  'SeaBIOS (version rel-1.16)',
  '[    0.000000] Linux version 6.8.0-1012-aws (buildd@lcy02) #13-Ubuntu SMP',
  '[    0.000000] Command line: BOOT_IMAGE=/vmlinuz root=PARTUUID=1 ro console=tty1 console=ttyS0',
  '[   12.345678] cloud-init[1045]: Cloud-init v. 24.1 running "modules:final"',
];
const text = (...lines: string[]) => `${lines.join('\r\n')}\r\n`;
const found = (output: string) => readConsoleKeys(output).keys.map((key) => key.fingerprint);

test('reads the keys of a first boot by cloud-init, with types and blobs', () => {
  const prefixed = (lines: readonly string[]) =>
    lines.map((line) => `<14>Jan  2 03:04:05 cloud-init: ${line}`);
  const output = text(
    ...boot,
    ...prefixed(['', '#'.repeat(61), ...printsOf(host, hostRsa), '#'.repeat(61)]),
    ...keysOf(hostRsa, host),
    '[   14.000000] cloud-init[1045]: Cloud-init finished',
    'ip-10-0-0-1 login: ',
  );
  const { keys, isWhole, startsAtBoot } = readConsoleKeys(output);
  assert.deepEqual(
    keys.map(({ type, key }) => [type, key?.blob]),
    [
      ['ssh-rsa', hostRsa.blob],
      ['ssh-ed25519', host.blob],
    ],
  );
  assert.deepEqual([isWhole, startsAtBoot], [true, true]);
});

describe('text that consoles put around a line', () => {
  const around: Record<string, (line: string) => string> = {
    'a kernel time and a program': (line) => `[   12.345678] cloud-init[1234]: ${line}`,
    'a kernel time alone': (line) => `[12.345678] ${line}`,
    'the name of older images': (line) => `ec2: ${line}`,
    'a priority': (line) => `<14>ec2: ${line}`,
    'carriage returns': (line) => `\r${line}\r\r`,
    colours: (line) => `\u001b[0;32m${line}\u001b[0m`,
    'a title and a bell': (line) => `\u001b]0;console\u0007${line}\u0007`,
    'an escape before the time': (line) => `\u001b[?2004l[   12.3] cloud-init[9]: ${line}`,
  };
  for (const [what, change] of Object.entries(around)) {
    test(`is ignored: ${what}`, () => {
      assert.deepEqual(found(text(...boot, ...keysOf(host).map(change))), [host.fingerprint]);
      const named = [...printsOf(host, hostRsa), ...keysOf(host)];
      assert.deepEqual(found(text(...boot, ...named.map(change))), [host.fingerprint, hostRsa.fingerprint]);
      assert.deepEqual(found(text(...boot, ...printsOf(host).map(change))), []);
    });
  }

  test('is not ignored if it comes from another program', () => {
    for (const before of ['sshd[99]: ', 'anna: ', 'Invalid user ', 'x', '[   12.3] sudo: ', 'ec2: ec2: ']) {
      assert.deepEqual(found(text(...boot, ...keysOf(other).map((line) => `${before}${line}`))), [], before);
    }
  });

  test('a kernel message between two keys does not affect them', () => {
    const [begin = '', first = '', second = '', end = ''] = keysOf(hostRsa, host);
    const output = text(...boot, begin, first, '[   12.4] random: crng init done', second, end);
    assert.deepEqual(found(output), [hostRsa.fingerprint, host.fingerprint]);
  });
});

describe('only the first block counts', () => {
  test('if another one of either kind follows', () => {
    assert.deepEqual(found(text(...boot, ...keysOf(host), ...keysOf(other))), [host.fingerprint]);
    assert.deepEqual(found(text(...boot, ...keysOf(host), ...printsOf(other))), [host.fingerprint]);
    assert.deepEqual(found(text(...boot, ...printsOf(host), ...printsOf(other), ...keysOf(host))), []);
  });

  test('if the first one is empty', () => {
    assert.deepEqual(found(text(...boot, ...keysOf(), ...keysOf(other))), []);
  });

  test('if the first one has no end, or a second start inside', () => {
    const [begin = '', line = '', end = ''] = keysOf(host);
    assert.deepEqual(found(text(...boot, begin, line)), []);
    assert.deepEqual(found(text(...boot, begin, line, ...keysOf(other))), []);
    assert.deepEqual(found(text(...boot, begin, ...printsOf(other), line, end)), []);
  });

  test('if the start of the first one has scrolled out', () => {
    const [, line = '', end = ''] = keysOf(host);
    assert.deepEqual(found(text(line, end, ...keysOf(other))), []);
    const prints = readConsoleKeys(text('-----END SSH HOST KEY FINGERPRINTS-----', ...keysOf(other)));
    assert.deepEqual(prints.keys, []);
  });

  test('and its keys must match the fingerprints before them', () => {
    const output = text(...boot, ...printsOf(host), 'login: ', ...keysOf(other, hostRsa));
    assert.deepEqual(readConsoleKeys(output).keys, []);
  });

  test('and two keys of one type in it are both ignored', () => {
    assert.deepEqual(found(text(...boot, ...keysOf(host, hostRsa, other))), [hostRsa.fingerprint]);
    assert.deepEqual(found(text(...boot, ...keysOf(host, host))), [host.fingerprint]);
  });
});

describe('a block counts only from the first boot, before any login', () => {
  const byLogger = (lines: readonly string[]) =>
    lines.map((line) => `[   99.123456] cloud-init[812]: ${line}`);
  const prompt = 'ip-10-0-0-1 login: ';
  const logins = [
    '[   40.000000] sshd[700]: Accepted publickey for anna from 10.0.0.2 port 50022 ssh2: ED25519 SHA256:x',
    '[   40.000000] systemd-logind[400]: New session 1 of user anna.',
    '[   40.000000] systemd[1]: Started Session 1 of User anna.',
    '[  OK  ] Started session-1.scope - Session 1 of User anna.',
    '[   40.000000] CRON[812]: pam_unix(cron:session): session opened for user anna(uid=1001) by (uid=0)',
  ];

  test('ignores one that a user of the VM sent through the journal after the login prompt', () => {
    for (const before of [prompt, `Debian GNU/Linux 12 ip-10-0-0-1 ttyS0\r\n\r\n${prompt}`]) {
      assert.deepEqual(found(text(...boot, before, ...byLogger(keysOf(other)))), []);
      assert.deepEqual(found(text(...boot, before, ...byLogger([...printsOf(other), ...keysOf(other)]))), []);
      assert.deepEqual(found(text(...boot, ...byLogger(keysOf(host)), before, ...byLogger(keysOf(other)))), [
        host.fingerprint,
      ]);
    }
  });

  test('ignores one with program names if the start of the output has scrolled out', () => {
    assert.deepEqual(found(text('some line', ...byLogger(keysOf(other)))), []);
    assert.deepEqual(found(text('some line', ...keysOf(host))), [host.fingerprint]);
  });

  test('ignores one after a user has logged in, in any form', () => {
    for (const login of logins) {
      assert.deepEqual(found(text(...boot, login, ...keysOf(other))), [], login);
      assert.deepEqual(found(text(...boot, login, ...printsOf(other), ...keysOf(other))), [], login);
      assert.deepEqual(found(text(...boot, ...keysOf(host), login, ...keysOf(other))), [host.fingerprint]);
    }
    const root = '[   10.0] systemd[1]: pam_unix(systemd-user:session): session opened for user root(uid=0)';
    assert.deepEqual(found(text(...boot, root, ...keysOf(host))), [host.fingerprint]);
  });

  test('ignores one after a login by a user whose name begins with root', () => {
    const login =
      '[   10.0] systemd[1]: pam_unix(systemd-user:session): session opened for user rooter(uid=0)';
    assert.deepEqual(
      found(text(...boot, login, ...keysOf(host))),
      [],
      'a word boundary is not enough to be root',
    );
  });

  test('ignores one with mismatched markers, or two blocks of fingerprints before it', () => {
    const [beginPrints = ''] = printsOf(host);
    const [, line = '', endKeys = ''] = keysOf(host);
    assert.deepEqual(found(text(...boot, beginPrints, line, endKeys)), []);
    assert.deepEqual(found(text(...boot, ...printsOf(other), ...printsOf(host), ...keysOf(host))), []);
  });

  test('ignores one that came partly through the journal, if the output does not start at boot', () => {
    const [begin = '', line = '', end = ''] = keysOf(host);
    const sent = (one: string) => `[   99.1] cloud-init[812]: ${one}`;
    assert.deepEqual(found(text('x', begin, line, end)), [host.fingerprint]);
    for (const lines of [
      [sent(begin), line, end],
      [begin, sent(line), end],
      [begin, line, sent(end)],
    ])
      assert.deepEqual(found(text('x', ...lines)), []);
  });

  test('ignores one after a reboot', () => {
    assert.deepEqual(found(text(...boot, ...boot, ...printsOf(other), ...keysOf(other))), []);
    assert.deepEqual(found(text(...boot, prompt, ...boot, ...keysOf(other))), []);
    assert.deepEqual(found(text(...boot.slice(0, 2), ...boot, ...keysOf(host))), [host.fingerprint]);
  });

  test('accepts cloud-init’s block after the login prompt, as on Ubuntu, with its fingerprints before it', () => {
    const prints = printsOf(host, hostRsa).map((line) => `<14>Jan  2 03:04:05 cloud-init: ${line}`);
    const start = text(...boot, 'Ubuntu 24.04 LTS ip-10-0-0-1 ttyS0', '').concat(prompt);
    const whole = readConsoleKeys(
      `${start}ci-info: no authorized SSH keys\r\n${text(...prints, ...keysOf(host, hostRsa))}`,
    );
    assert.deepEqual([whole.keys.length, whole.isWhole], [2, true]);
    assert.deepEqual(found(`${start}\r\n${text(...keysOf(other))}`), []);
    assert.deepEqual(found(`${start}\r\n${text(...prints, ...keysOf(host, other))}`), []);
  });
});

describe('a block is complete', () => {
  const read = (...lines: string[]) => readConsoleKeys(text(...boot, ...lines));
  const [begin = '', first = '', second = '', end = ''] = keysOf(hostRsa, host);

  test('if every line of a key could be read', () => {
    assert.equal(read(begin, first, '[   12.4] random: crng init done', second, end).isWhole, true);
    assert.equal(read(begin, first, second.slice(0, 40), second.slice(40), end).isWhole, false);
    assert.equal(read(begin, first, `${second.slice(0, 60)}[   12.4] random: crng`, end).isWhole, false);
    assert.equal(read(begin, first, second, second.replace(/AAAA/, 'AAAB'), end).isWhole, false);
  });

  test('if no two keys of a type contradict each other, and no fingerprint contradicts a key', () => {
    assert.equal(read(...keysOf(host, hostRsa, other)).isWhole, false);
    assert.equal(read(...printsOf(host), ...keysOf(host, hostRsa)).isWhole, false);
    assert.equal(read(...printsOf(host, hostRsa), ...keysOf(host)).isWhole, true);
    assert.equal(read(...keysOf()).isWhole, false);
  });
});

describe('a line that is not a key is ignored', () => {
  const good = keyLine(host);
  const [type = '', base64 = ''] = good.split(' ');
  const certificate = 'ssh-ed25519-cert-v01@openssh.com';
  const cases: Record<string, string> = {
    'another type than its blob': good.replace(type, 'ssh-rsa'),
    'no type': base64,
    'a blob cut short': `${type} ${base64.slice(0, -8)}`,
    'a blob with something behind': `${type} ${Buffer.concat([host.blob, Buffer.alloc(3)]).toString('base64')}`,
    'base64 that is not canonical': `${type} ${base64}=`,
    'base64 with a hole': `${type} ${base64.slice(0, 20)} ${base64.slice(20)}`,
    'an option before': `@cert-authority ${good}`,
    'a type that its blob does not have': `${certificate} ${base64}`,
    'two spaces': good.replace(' ', '  '),
    'an endless one': `${type} ${'A'.repeat(60_000)}`,
  };
  for (const [what, line] of Object.entries(cases)) {
    test(what, () => {
      const beside = text(...boot, ...block('KEYS', [line, keyLine(hostRsa)]));
      assert.deepEqual(found(beside), [hostRsa.fingerprint]);
      assert.deepEqual(found(text(...boot, ...block('KEYS', [line]))), []);
    });
  }

  test('also in a block of fingerprints', () => {
    const line = printLine(host);
    const wrong = [
      line.replace('SHA256:', 'MD5:'),
      line.replace('(ED25519)', ''),
      line.replace('(ED25519)', '(DSA)'),
      line.replace('SHA256:', 'SHA256:A'),
      line.replace('256 ', ''),
      line.replace('ED25519', 'ECDSA').replace('256', '255'),
    ];
    const beside = (each: string) =>
      text(...boot, ...block('FINGERPRINTS', [each, printLine(hostRsa)]), ...keysOf(hostRsa));
    for (const each of wrong) assert.deepEqual(found(beside(each)), [hostRsa.fingerprint], each);
    const named = line.replace('ED25519', 'ECDSA').replace('256', '384');
    assert.equal(readConsoleKeys(beside(named)).keys[1]?.type, 'ecdsa-sha2-nistp384');
  });
});

test('ignores a block of more than 64 lines, and output after 64 KB', () => {
  const filler = Array.from({ length: 64 }, () => 'x');
  assert.deepEqual(found(text(...boot, ...block('KEYS', [...filler, keyLine(host)]), ...keysOf(other))), []);
  assert.deepEqual(found(text(...boot, ...block('KEYS', [...filler.slice(1), keyLine(host)]))), [
    host.fingerprint,
  ]);
  assert.deepEqual(found(text('x\n'.repeat(32 * 1024), ...keysOf(host))), []);
});

test('an output starts at boot if it begins with firmware or kernel and nothing can have scrolled out', () => {
  const startsAtBoot = (...lines: string[]) => readConsoleKeys(text(...lines)).startsAtBoot;
  assert.equal(startsAtBoot(...boot, ...keysOf(host)), true);
  for (const first of boot.slice(0, 2)) assert.equal(startsAtBoot('', first), true, first);
  assert.equal(startsAtBoot('Linux version 6.8.0-1012-aws'), true);
  assert.equal(startsAtBoot('BdsDxe: loading Boot0001 "UEFI Amazon Elastic Block Store"'), true);
  assert.equal(startsAtBoot('[   12.345678] cloud-init[1045]: running', ...keysOf(host)), false);
  assert.equal(startsAtBoot('login: anna', 'anna says: [    0.000000] Linux version 6'), false);
  // A reboot later in the output is not the first boot.
  assert.equal(startsAtBoot(...Array.from({ length: 50 }, () => 'x'), ...boot), false);
  // As long as what EC2 keeps: who wrote all of it may have written the boot as well.
  assert.equal(startsAtBoot(...boot, ...keysOf(host), 'x'.repeat(64 * 1024)), false);
  assert.equal(startsAtBoot(''), false);
});

test('never throws, takes long, or returns a key that is not in the text', () => {
  const pieces = fc.constantFrom(
    ...keysOf(host, other),
    ...printsOf(host),
    '\n',
    '\r',
    '\u001b[',
    '\u001b]',
    '[    0.000000] ',
    'ec2: ',
    '\u0000',
  );
  const noise = fc.oneof(fc.string({ unit: 'binary', maxLength: 40 }), pieces, pieces);
  const allowed = new Set([host.fingerprint, other.fingerprint]);
  fc.assert(
    fc.property(fc.array(noise, { maxLength: 60 }), fc.constantFrom('', '\n', '\r\n'), (parts, glue) => {
      for (const { fingerprint } of readConsoleKeys(parts.join(glue)).keys)
        assert.ok(allowed.has(fingerprint));
    }),
    { numRuns: 300 },
  );
  const slow = ['\r', '\u001b[', '\u001b]', ' ', '\n', '<', '[ ', 'A', '-----BEGIN SSH HOST KEY KEYS-----\n'];
  for (const piece of slow) {
    const start = performance.now();
    readConsoleKeys(piece.repeat(70_000 / piece.length));
    assert.ok(performance.now() - start < 15_000, JSON.stringify(piece));
  }
});

test('text after the first complete block changes nothing', () => {
  const begin = text(...boot, ...printsOf(host, hostRsa), ...keysOf(host, hostRsa));
  const expected = [host.fingerprint, hostRsa.fingerprint];
  const later = fc.array(fc.constantFrom(...keysOf(other), ...printsOf(other), 'x'), { maxLength: 30 });
  fc.assert(
    fc.property(later, (lines) => assert.deepEqual(found(begin + text(...lines)), expected)),
    { numRuns: 200 },
  );
});
