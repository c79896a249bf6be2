import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { test } from 'node:test';
import { addKey, authorizedKeys, withKey, withoutKeys } from '../../src/keys/authorized-keys.ts';
import { isPast } from '../../src/keys/expiry.ts';
import { publicKeyLine } from '../../src/ssh/key-encoding.ts';
import { fc } from '../property.ts';

const line = () => publicKeyLine(generateKeyPairSync('ed25519').publicKey);
const [one, two] = [line(), line()] as [string, string];
const blob = Buffer.from(one.split(' ')[1] ?? '', 'base64');
const clock = { local: '20261122120000', utc: '20261122110000' };
const add = (file: string, expiry?: string) =>
  addKey(Buffer.from(file), { blob, line: `${one} new comment` }, { clock, expiry });

function kindOf(file: string, expiry?: string): string {
  return add(file, expiry).kind;
}

function fileOf(file: string, expiry?: string): string {
  const addition = add(file, expiry);
  if (!('file' in addition)) throw new Error(addition.kind);
  return addition.file.toString();
}

test('finds keys after blanks, options, quotes and commas, before comments and CRs', () => {
  const file = [
    one,
    `\t ${one} behind blanks`,
    `no-pty,command="echo \\"a b\\" # ${two}",expiry-time="20270101" ${one} two words \r`,
    `from="*.example.com,!x y" \t ${one}`,
    '',
    '# a comment',
    `# ${two}`,
    `#${two}`,
    'ssh-ed25519',
    'ssh-ed25519 AAAA',
    `ssh-rsa ${one.split(' ')[1]} the type of another`,
    `command="unfinished ${one}`,
    'ssh-ed25519 !!!! x',
    `${one.slice(0, -3)}*** x`,
  ];
  const keys = authorizedKeys(Buffer.from(file.join('\n')));
  assert.deepEqual(
    keys.map(({ index, comment, expires }) => [index, comment, expires]),
    [
      [0, '', undefined],
      [1, 'behind blanks', undefined],
      [2, 'two words', '20270101000000'],
      [3, '', undefined],
    ],
  );
  assert.equal(new Set(keys.map(({ fingerprint }) => fingerprint)).size, 1);
});

test('adds a key at the end, on a new line', () => {
  assert.equal(fileOf(''), `${one} new comment\n`);
  assert.equal(fileOf(`${two}\n`), `${two}\n${one} new comment\n`);
  assert.equal(fileOf(two), `${two}\n${one} new comment\n`);
  assert.equal(fileOf(`${two}\r\n`), `${two}\r\n${one} new comment\n`);
  assert.equal(fileOf('', '20270101000000'), `expiry-time="20270101000000" ${one} new comment\n`);
});

test('does not change an existing key with any comment and options', () => {
  for (const there of [
    one,
    `${one} another`,
    `  ${one}\r`,
    `no-pty ${one}`,
    `expiry-time="20270101" ${one}`,
  ]) {
    assert.equal(kindOf(`${two}\n${there}\n`), 'present', there);
  }
  assert.equal(kindOf(`# ${one}\n`), 'added');
  // Such a line accepts certificates that the key signed, not the key itself.
  assert.equal(kindOf(`no-pty,Cert-Authority ${one}\n`), 'added');
  assert.equal(kindOf(`expiry-time="20260101" ${one}\n`), 'expired');
  assert.equal(kindOf(`expiry-time="20260101" ${one}\n${one}\n`), 'present');
});

test('renews an expiry if it is the only option, and limits no other line', () => {
  const end = '20270301000000';
  const [before, after] = [
    `${two}\r\n  expiry-time="20260101"\t${one} c\r\n#x`,
    `${two}\r\n  expiry-time="${end}"\t${one} c\r\n#x`,
  ];
  assert.equal(fileOf(before, end), after);
  assert.equal(kindOf(`${one}\n`, end), 'bound');
  assert.equal(kindOf(`no-pty,expiry-time="20260101" ${one}\n`, end), 'bound');
  assert.equal(kindOf(`expiry-time="20260101" ${one}\n${one}\n`, end), 'bound');
  assert.equal(kindOf(`expiry-time="soon" ${one}\n`, end), 'bound');
});

test('an expiry counts by the VM’s clock, or by UTC with a Z; the earlier of two counts', () => {
  const expires = (options: string) => authorizedKeys(Buffer.from(`${options} ${one}`))[0]?.expires;
  assert.equal(expires('expiry-time="20270101",EXPIRY-TIME="202612312359"'), '20261231235900');
  assert.equal(expires('expiry-time="20270101Z"'), '20270101000000Z');
  assert.equal(expires('command="a,expiry-time=\\"20270101\\""'), undefined);
  assert.ok(isPast('20261122113000', clock));
  assert.ok(!isPast('20261122113000Z', clock));
  assert.ok(!isPast(undefined, clock));
});

test('keeps all bytes of any file through an addition and a removal', () => {
  const piece = fc.oneof(
    fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes)),
    fc
      .constantFrom('\n', '\r\n', '"', '\\"', ' ', two, `${two}\n`, `a="b ${two}`)
      .map((text) => Buffer.from(text)),
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 12 }), (pieces) => {
      const file = Buffer.concat(pieces);
      const added = withKey(file, `expiry-time="20270101" ${one} x`);
      const mine = authorizedKeys(added).filter((key) => key.blob.equals(blob));
      assert.equal(mine.length, 1);
      const end = file.length === 0 || file.at(-1) === 10 ? '' : '\n';
      assert.deepEqual(withoutKeys(added, mine), Buffer.concat([file, Buffer.from(end)]));
    }),
  );
});

test('reads a long file of quotes and backslashes quickly', () => {
  const started = performance.now();
  for (const unit of ['\\"', '"', 'a="\\",', ' "', 'ssh-ed25519 '])
    authorizedKeys(Buffer.from(unit.repeat(150_000)));
  assert.ok(performance.now() - started < 15_000);
});
