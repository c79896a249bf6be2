import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { parseLifetime } from '../../src/keys/lifetime.ts';
import { parsePublicKey, publicKeyText } from '../../src/keys/public-key.ts';
import { encodeString } from '../../src/ssh/wire.ts';
import { ownDirectory, refusal } from '../platform/directory.ts';
import { certify, hostileComments, keygen, makeKey, securityKeyLine } from './key-lines.ts';

const parse = (text: string | Buffer, comment?: string) => parsePublicKey(Buffer.from(text), comment);
const kinds = [
  ['ed25519'],
  ['rsa', '-b', '2048'],
  ['ecdsa', '-b', '256'],
  ['ecdsa', '-b', '384'],
  ['ecdsa', '-b', '521'],
] as const;

function fingerprint(line: string): string {
  const options = { encoding: 'utf8', input: `${line}\n` } as const;
  return execFileSync('ssh-keygen', ['-lf', '-'], options).split(' ')[1] ?? '';
}

test('reads every kind of key that OpenSSH makes, and writes it unchanged', async (context) => {
  const directory = ownDirectory(context);
  const made = kinds.map(([type, ...how]) =>
    makeKey(directory, `${type}${how.join('')}`, '-t', type, ...how),
  );
  for (const line of [...made, securityKeyLine('ed25519'), securityKeyLine('ecdsa')]) {
    const key = await parse(`${line}\r\n`);
    assert.equal(publicKeyText(key), line);
    assert.deepEqual([key.fingerprint, key.certified], [fingerprint(line), false]);
    assert.ok(line.startsWith(key.type));
  }
  assert.equal((await parse(securityKeyLine('ed25519'))).kind, 'ED25519-SK');
});

test('reads the key inside a certificate', async (context) => {
  const directory = ownDirectory(context);
  const made = kinds.map(([type, ...how]) =>
    makeKey(directory, `${type}${how.join('')}`, '-t', type, ...how),
  );
  for (const line of [...made, securityKeyLine('ed25519'), securityKeyLine('ecdsa')]) {
    const certificate = certify(directory, line, '-V', '+1h', '-O', 'force-command=true');
    assert.match(certificate, /-cert-v01@openssh\.com /);
    const key = await parse(certificate, 'c');
    assert.equal(publicKeyText(key), `${line.split(' ').slice(0, 2).join(' ')} c`);
    assert.deepEqual([key.fingerprint, key.certified], [fingerprint(line), true]);
    assert.doesNotMatch(key.kind, /CERT/);
  }
});

test('refuses a key with any single error', async (context) => {
  const directory = ownDirectory(context);
  const line = makeKey(directory, 'good', '-t', 'ed25519');
  const [type = '', base64 = ''] = line.split(' ');
  const blob = Buffer.from(base64, 'base64');
  const as = (bytes: Buffer, name = type) => `${name} ${bytes.toString('base64')}`;
  const certificate = certify(directory, line);
  const [certType = '', cert64 = ''] = certificate.split(' ');
  const cut = Buffer.from(cert64, 'base64');
  const forged = Buffer.from(cut);
  forged.writeUInt8(forged.readUInt8(forged.length - 1) ^ 1, forged.length - 1);
  const point = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    .publicKey.export({ type: 'spki', format: 'der' })
    .subarray(-65);
  point.writeUInt8(point.readUInt8(64) ^ 1, 64);
  const offCurve = Buffer.concat(['ecdsa-sha2-nistp256', 'nistp256', point].map(encodeString));
  const bad: Record<string, string | Buffer> = {
    nothing: '',
    blank: ' \n\t\r\n',
    'a comment only': '# nothing\n',
    'a type only': 'ssh-ed25519',
    'no base64': `${type} !!!!`,
    'base64 cut': `${type} ${base64.slice(0, -1)}`,
    'base64 padded': `${line.split(' ').slice(0, 2).join(' ')}==`,
    base64url: `${type} ${base64.slice(0, -2)}-_`,
    'another type inside': as(blob, 'ssh-rsa'),
    'an unknown type': as(Buffer.concat([encodeString('ssh-future'), blob.subarray(15)]), 'ssh-future'),
    'too short': as(blob.subarray(0, -1)),
    'too long': as(Buffer.concat([blob, Buffer.from('x')])),
    'a length beyond its end': as(Buffer.concat([encodeString(type), Buffer.from([255, 255, 255, 255])])),
    'a point off the curve': as(offCurve, 'ecdsa-sha2-nistp256'),
    'a certificate cut': `${certType} ${cut.subarray(0, -4).toString('base64')}`,
    'a certificate forged': `${certType} ${forged.toString('base64')}`,
    'two keys': `${line}\n${line}\n`,
    'a key and a line': `${line}\nPermitRootLogin yes`,
    'UTF-16': Buffer.from(`\ufeff${line}`, 'utf16le'),
    'not UTF-8': Buffer.concat([Buffer.from(`${line} `), Buffer.from([0xff, 0xfe])]),
    'RFC 4716': keygen('-e', '-f', join(directory, 'good.pub')),
    PEM: generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.export({
      type: 'spki',
      format: 'pem',
    }) as string,
    'an old DSA key': as(
      Buffer.concat(['ssh-dss', 'p', 'q', 'g', 'y'].map((field) => encodeString(field))),
      'ssh-dss',
    ),
    'a comment without an end': `${line} ${'x'.repeat(8_000)}`,
    'random bytes': Buffer.from([...Array(256).keys()]),
  };
  for (const [what, text] of Object.entries(bad)) {
    await assert.rejects(parse(text), refusal('key-invalid'), what);
  }
  await assert.rejects(parse(bad['an old DSA key'] ?? ''), refusal('key-invalid', /DSA/));
});

test('refuses options before the key', async (context) => {
  const line = makeKey(ownDirectory(context), 'good', '-t', 'ed25519');
  const options = [
    'command="sh"',
    'no-pty',
    'cert-authority',
    'expiry-time="20990101"',
    'command="a b\\" c",from="*"',
    'environment="LD_PRELOAD=/x"',
    'tunnel="0"',
    ' \t no-pty',
  ];
  for (const option of options)
    await assert.rejects(parse(`${option} ${line}`), refusal('key-options'), option);
});

test('refuses a private key in any format, and shows no part of it', async (context) => {
  const directory = ownDirectory(context);
  makeKey(directory, 'ed', '-t', 'ed25519');
  makeKey(directory, 'pem', '-t', 'rsa', '-m', 'PEM');
  makeKey(directory, 'pkcs8', '-t', 'ecdsa', '-m', 'PKCS8');
  const own = readFileSync(join(directory, 'ed'), 'utf8');
  const bodies = ['ed', 'pem', 'pkcs8'].map((name) => readFileSync(join(directory, name), 'utf8'));
  const putty = 'PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\n';
  const bare = own.split('\n').slice(1, -2).join('');
  const joined = own.replaceAll('\n', ' ');
  for (const text of [
    ...bodies,
    putty,
    bare,
    joined,
    `\n\n${own}`,
    `${readFileSync(join(directory, 'ed.pub'), 'utf8')}${own}`,
  ]) {
    await assert.rejects(parse(text), (error: Error) => {
      assert.doesNotMatch(`${error.message}${(error as { hint?: string }).hint}`, /b3Bl|MII/);
      return refusal('key-private')(error);
    });
  }
});

test('keeps a comment byte for byte or refuses it, and never reads it as more', async (context) => {
  const line = makeKey(ownDirectory(context), 'good', '-t', 'ed25519').split(' ').slice(0, 2).join(' ');
  const comments = hostileComments('/tmp/canary');
  assert.ok(comments.length >= 100);
  let kept = 0;
  for (const comment of comments) {
    for (const attempt of [() => parse(`${line} ${comment}`), () => parse(line, comment)]) {
      const key = await attempt().catch((error: Error) => {
        refusal('key-invalid')(error);
      });
      if (key === undefined) continue;
      kept += 1;
      // A tab within is a control character, one at either end is a blank.
      assert.equal(publicKeyText(key), comment.trim() === '' ? line : `${line} ${comment.trim()}`);
      assert.equal(publicKeyText(key).split(/[\n\r\0]/).length, 1);
    }
  }
  assert.ok(kept > 100, `${kept} were kept`);
});

test('accepts a lifetime of a number and a unit, up to ten years', () => {
  assert.deepEqual(
    ['1m', '90m', '12h', '30d', '2w', '3650d'].map(parseLifetime),
    [60, 5_400, 43_200, 2_592_000, 1_209_600, 315_360_000],
  );
  for (const bad of [
    '',
    '0d',
    '30',
    'd',
    '-1d',
    '1.5h',
    '30D',
    '1y',
    '3651d',
    '9999999w',
    '1d ',
    '1d2h',
    '0x1d',
    '$(x)d',
  ]) {
    assert.throws(() => parseLifetime(bad), refusal('usage'), bad);
  }
});

test('refuses every key without ssh-keygen', (context) => {
  const directory = ownDirectory(context);
  const line = makeKey(directory, 'good', '-t', 'ed25519');
  const program = join(directory, 'try.ts');
  const module = join(import.meta.dirname, '../../src/keys/public-key.ts');
  writeFileSync(
    program,
    `import { parsePublicKey } from ${JSON.stringify(module)};
    await parsePublicKey(Buffer.from(${JSON.stringify(line)})).then(() => console.log('taken'), (error) => console.log(error.message));`,
  );
  const { stdout } = spawnSync(process.execPath, [program], { encoding: 'utf8', env: { PATH: directory } });
  assert.match(stdout, /^cannot run ssh-keygen/);
});
