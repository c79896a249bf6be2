/** Keys of other programs: their files, their lines and their metadata. */
import assert from 'node:assert/strict';
import { addKey, authorizedKeys, withKey, withoutKeys } from '../../../src/keys/authorized-keys.ts';
import { parseKeyFile } from '../../../src/keys/store/key-file.ts';
import { blobOfLine } from '../../../src/keys/store/key-type.ts';
import { metadataWith, parseMetadata } from '../../../src/keys/store/metadata.ts';
import { parseHostKey } from '../../../src/ssh/hostkey.ts';
import { encodeByte, encodeString, encodeUint32 } from '../../../src/ssh/wire.ts';
import { ecdsaBlob, ed25519Blob, ed25519Line } from '../material.ts';
import { attempt, Refusal, type Target } from '../target.ts';

const own = Buffer.concat([encodeString('ssh-ed25519'), encodeString(Buffer.alloc(32, 0x99))]);
const clock = { local: '20260101120000', utc: '20260101110000' };

/** A file on a VM: no byte of it may get lost. */
export const authorizedKeysFile: Target = {
  name: 'authorized-keys',
  seeds: () => [
    Buffer.from(`${ed25519Line} me@laptop\n# a comment\n\nrestrict,pty,command="a \\" b" ${ed25519Line}\r\n`),
    Buffer.from(`expiry-time="20270101" ${ed25519Line}\nexpiry-time="202601010000Z",pty ${ed25519Line} x`),
    Buffer.from(`cert-authority ecdsa-sha2-nistp256 ${ecdsaBlob.toString('base64')} ca\n`),
    Buffer.from(
      `ssh-ed25519 ${own.toString('base64')}\nexpiry-time="20250101" ssh-ed25519 ${own.toString('base64')}`,
    ),
    Buffer.from(`${certificate()} signed\n`),
  ],
  dictionary: [
    ...['expiry-time="', '"', '\\"', ',', ' ', '\t', '\n', '\r\n', '#', 'Z"', '20260101', 'cert-authority'],
    ...[ed25519Line, 'ssh-ed25519', 'AAAA', '=', 'ssh-ed25519-cert-v01@openssh.com', own.toString('base64')],
  ],
  longest: 2048,
  run(input) {
    const keys = authorizedKeys(input);
    for (const key of keys) assert.match(key.fingerprint, /^SHA256:[A-Za-z0-9+/]{43}$/);
    assert.deepEqual(withoutKeys(input, []), input);
    const line = `ssh-ed25519 ${own.toString('base64')} mine`;
    const added = withKey(input, line);
    assert.deepEqual(added.subarray(0, input.length), input);
    const last = authorizedKeys(added).slice(-1);
    assert.ok(last[0]?.blob.equals(own), 'the key that was added is not there');
    const end = input.length === 0 || input.at(-1) === 10 ? '' : '\n';
    assert.deepEqual(withoutKeys(added, last), Buffer.concat([input, Buffer.from(end)]));
    const words = [undefined, '20270101000000'].map((expiry) => {
      const addition = addKey(input, { blob: own, line }, { clock, expiry });
      if ('file' in addition) assert.ok(authorizedKeys(addition.file).some(({ blob }) => blob.equals(own)));
      return addition.kind;
    });
    const [first] = keys;
    return `${Math.min(keys.length, 3)} ${words} ${first?.renewable} ${first?.authority} ${first?.expires?.length}`;
  },
};

/** RFC-like: PROTOCOL.certkeys, as far as what we read goes. */
function certificate(): string {
  const type = 'ssh-ed25519-cert-v01@openssh.com';
  const blob = Buffer.concat([
    ...[type, Buffer.alloc(32, 1), Buffer.alloc(32, 0x42)].map(encodeString),
    Buffer.alloc(8),
    encodeUint32(1),
    ...['id', '', Buffer.alloc(16), '', '', '', ed25519Blob, 'signature'].map(encodeString),
  ]);
  return `${type} ${blob.toString('base64')}`;
}

/** A private key's file before it is opened. */
export const keyFile: Target = {
  name: 'key-file',
  seeds: () => [
    openSshFile('none', 'none', Buffer.alloc(0)),
    openSshFile('aes256-ctr', 'bcrypt', Buffer.concat([encodeString('0123456789abcdef'), encodeUint32(16)])),
    openSshFile('chacha20-poly1305@openssh.com', 'none', Buffer.alloc(0)),
    Buffer.from(
      '-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END RSA PRIVATE KEY-----\n',
    ),
    Buffer.from('-----BEGIN EC PARAMETERS-----\nBg==\n-----END EC PARAMETERS-----\n'),
    Buffer.from('PuTTY-User-Key-File-3: ssh-ed25519\n'),
    Buffer.from(`${ed25519Line}\n`),
  ],
  dictionary: [
    ...['-----BEGIN ', '-----END ', '-----', 'OPENSSH ', 'RSA ', 'EC ', 'DSA ', 'ENCRYPTED ', 'PRIVATE KEY'],
    ...['PUBLIC KEY', '\n', '\r\n', 'Proc-Type: 4,ENCRYPTED\n', 'b3BlbnNzaC1rZXktdjEA', 'AAAA', 'bcrypt'],
  ],
  longest: 2048,
  run(input) {
    const read = attempt(['key-invalid', 'key-format'], () => parseKeyFile(input));
    if (read instanceof Refusal) return read.words;
    assert.match(read.text, /^-----BEGIN [A-Z ]+-----\n.*-----END [A-Z ]+-----\n$/s);
    assert.deepEqual(parseKeyFile(Buffer.from(read.text, 'latin1')), read);
    return `${read.format} ${read.encrypted} ${read.publicBlob === undefined}`;
  },
};

function openSshFile(cipher: string, kdf: string, options: Buffer): Buffer {
  const bytes = Buffer.concat([
    Buffer.from('openssh-key-v1\0'),
    ...[cipher, kdf, options].map(encodeString),
    encodeUint32(1),
    encodeString(ed25519Blob),
    encodeString(Buffer.concat([encodeUint32(7), encodeUint32(7), encodeByte(1)])),
  ]);
  const lines = bytes.toString('base64').match(/.{1,70}/g) ?? [];
  const [begin, end] = ['BEGIN', 'END'].map((word) => `-----${word} OPENSSH PRIVATE KEY-----`);
  return Buffer.from(`${[begin, ...lines, end].join('\n')}\n`);
}

/** The line of a `.pub` file. */
export const publicLines: Target = {
  name: 'public-line',
  seeds: () => [
    Buffer.from(`${ed25519Line} comment\n`),
    Buffer.from(`ecdsa-sha2-nistp256 ${ecdsaBlob.toString('base64')}`),
  ],
  dictionary: ['ssh-ed25519', 'ssh-rsa', ' ', 'AAAAC3NzaC1lZDI1NTE5AAAAI', '=', '\n'],
  longest: 512,
  run(input) {
    const blob = blobOfLine(input.toString('latin1'));
    if (blob === undefined) return 'nothing';
    const { type } = parseHostKey(blob);
    assert.ok(input.toString('latin1').startsWith(`${type} `));
    return 'a key';
  },
};

/** `metadata.json`, which other programs write as well. */
export const metadata: Target = {
  name: 'metadata',
  seeds: () => [
    Buffer.from(
      '{"version":"1.0","keys":{"work":{"profile":"Work","region":"us-east-1","instances":["i-1"],"n":1.50}},"x":1e400}',
    ),
    Buffer.from('{"version":"1.0","keys":null}'),
    Buffer.from(
      '{"keys":{"a":{"aws_key_names":{"us-east-1":"k"},"created_at":"","type":"ed25519"}},"version":"1.0"}',
    ),
    Buffer.from('{"version":"2.0"}'),
  ],
  dictionary: [
    ...[
      '"version":"1.0"',
      '"keys":{',
      'profile',
      'region',
      'instances',
      'aws_key_name',
      'aws_key_names',
      'created_at',
    ],
    ...[
      '"',
      ':',
      ',',
      '{',
      '}',
      '[',
      ']',
      'null',
      '1.0',
      '1e999',
      '-0',
      '"__proto__":',
      '\\u0000',
      'rawJSON',
    ],
  ],
  longest: 2048,
  run(input) {
    const read = attempt(['key-store'], () => parseMetadata(input.toString('utf8')));
    if (read instanceof Refusal) return read.words;
    const added = parseMetadata(metadataWith(read, 'new-key', { profile: 'new', instances: [] }));
    assert.deepEqual(
      added.keys.filter(({ name }) => name !== 'new-key'),
      read.keys.filter(({ name }) => name !== 'new-key'),
    );
    assert.ok(added.keys.some(({ name }) => name === 'new-key'));
    const text = metadataWith(added, 'new-key', undefined);
    assert.equal(metadataWith(parseMetadata(text), 'new-key', undefined), text, 'something else has changed');
    return `${Math.min(read.keys.length, 3)} ${read.keys[0]?.region === undefined}`;
  },
};
