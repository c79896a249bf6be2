/** Every accepted type and format, there and back, with ssh-keygen, openssl and age as the judges. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { copyFileSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { parseKeyFile } from '../../../src/keys/store/key-file.ts';
import { publicBlob, publicLine, typeOfBlob } from '../../../src/keys/store/key-type.ts';
import { encodePrivateKey, type KeyFormat, openKeyFile } from '../../../src/keys/store/private-key.ts';
import { encodeString, encodeUint32 } from '../../../src/ssh/wire.ts';
import { ownDirectory, refusal } from '../../platform/directory.ts';
import { keygen, makeKey } from '../key-lines.ts';

const kinds = [
  ['ed25519', 'ed25519'],
  ['rsa-2048', 'rsa', '-b', '2048'],
  ['rsa-3072', 'rsa', '-b', '3072'],
  ['ecdsa-p256', 'ecdsa', '-b', '256'],
  ['ecdsa-p384', 'ecdsa', '-b', '384'],
  ['ecdsa-p521', 'ecdsa', '-b', '521'],
] as const;
const passphrase = 'correct hörse 7';

async function open(path: string, secret?: string) {
  const key = await openKeyFile(parseKeyFile(readFileSync(path)), secret);
  const blob = publicBlob(key);
  return { key, type: typeOfBlob(blob), line: publicLine(blob, 'c').split(' ').slice(0, 2).join(' ') };
}

/** The public key by ssh-keygen; undefined if it does not open the file. */
function publicByKeygen(path: string, secret: string): string | undefined {
  const { status, stdout } = spawnSync('ssh-keygen', ['-y', '-P', secret, '-f', path], { encoding: 'utf8' });
  return status === 0 ? stdout.trim().split(' ').slice(0, 2).join(' ') : undefined;
}

function opensByOpenssl(path: string, secret: string): boolean {
  const words = ['pkey', '-in', path, '-noout', '-passin', `pass:${secret}`];
  return spawnSync('openssl', words, { stdio: 'ignore' }).status === 0;
}

/** The rounds of PBKDF2 in an encrypted PKCS#8 file, as OpenSSL reads it. */
function roundsOf(path: string): number {
  const { stdout } = spawnSync('openssl', ['asn1parse', '-in', path], { encoding: 'utf8' });
  const [, rounds = ''] = /:PBKDF2[\s\S]*?INTEGER\s+:([0-9A-F]+)/.exec(stdout) ?? [];
  assert.match(stdout, /:hmacWithSHA256[\s\S]*:aes-256-cbc/);
  return Number.parseInt(rounds, 16);
}

function bare(line: string): string {
  return line.split(' ').slice(0, 2).join(' ');
}

describe('a private key', () => {
  for (const [type, kind, ...how] of kinds) {
    test(`${type}: every format of ssh-keygen is read, with and without a passphrase`, async (context) => {
      const directory = ownDirectory(context);
      const line = bare(makeKey(directory, 'key', '-t', kind, ...how));
      const plain = join(directory, 'key');
      assert.deepEqual((({ type, line }) => ({ type, line }))(await open(plain)), { type, line });
      const formats = kind === 'ed25519' ? ['RFC4716'] : ['RFC4716', 'PEM', 'PKCS8'];
      for (const format of formats) {
        const [open1, locked] = [join(directory, `${format}-open`), join(directory, format)];
        for (const [path, secret] of [
          [open1, ''],
          [locked, passphrase],
        ] as const) {
          copyFileSync(plain, path);
          keygen('-q', '-p', '-P', '', '-N', secret, '-m', format, '-f', path);
        }
        assert.equal((await open(open1)).line, line, format);
        assert.equal((await open(locked, passphrase)).line, line, format);
        assert.ok(parseKeyFile(readFileSync(locked)).encrypted);
        await assert.rejects(open(locked, 'something else'), refusal('key-passphrase'));
      }
    });

    test(`${type}: every format is written so that ssh-keygen has the same key, and nothing without the passphrase`, async (context) => {
      const directory = ownDirectory(context);
      const line = bare(makeKey(directory, 'key', '-t', kind, ...how));
      const { key } = await open(join(directory, 'key'));
      for (const format of ['openssh', 'pem', 'pkcs8'] as const) {
        for (const secret of [undefined, passphrase]) {
          const path = join(directory, `${format}-${secret === undefined ? 'open' : 'locked'}`);
          const written = encodePrivateKey(key, format, { passphrase: secret, comment: 'a comment' });
          // Its one round of MD5 protects nothing.
          if (format === 'pem' && (kind === 'ed25519' || secret !== undefined)) {
            await assert.rejects(written, refusal('key-format'));
            continue;
          }
          writeFileSync(path, await written, { mode: 0o600 });
          assert.equal((await open(path, secret)).line, line);
          if (secret !== undefined) await refusesOthers(path, format, secret);
          if (format === 'pkcs8' && secret !== undefined)
            assert.ok(roundsOf(path) >= 600_000, `${roundsOf(path)}`);
          // OpenSSH before 9.6 reads no ed25519 in PKCS#8; openssl does.
          if (format === 'pkcs8' && kind === 'ed25519') assert.ok(opensByOpenssl(path, secret ?? ''));
          else assert.equal(publicByKeygen(path, secret ?? ''), line, format);
        }
      }
    });
  }

  async function refusesOthers(path: string, format: KeyFormat, secret: string): Promise<void> {
    const text = readFileSync(path, 'utf8');
    assert.match(text, /ENCRYPTED|OPENSSH/);
    for (const wrong of ['', 'something else', secret.slice(0, -1)]) {
      assert.equal(publicByKeygen(path, wrong), undefined, format);
      if (format !== 'openssh') assert.equal(opensByOpenssl(path, wrong), false, format);
      await assert.rejects(open(path, wrong), refusal('key-passphrase'));
    }
    await assert.rejects(open(path), refusal('key-passphrase'));
  }

  test('reports a wrong passphrase, also the one in a few hundred that seems to decrypt', async (context) => {
    const directory = ownDirectory(context);
    makeKey(directory, 'key', '-t', 'ed25519');
    const { key } = await open(join(directory, 'key'));
    const path = join(directory, 'locked');
    writeFileSync(path, await encodePrivateKey(key, 'pkcs8', { passphrase, comment: '' }), { mode: 0o600 });
    for (let time = 0; time < 1500; time += 1) {
      await assert.rejects(open(path, `wrong ${time}`), refusal('key-passphrase'));
    }
  });

  test('reads OpenSSH’s format with every supported cipher, else names a conversion', async (context) => {
    const directory = ownDirectory(context);
    makeKey(directory, 'key', '-t', 'ed25519');
    const ciphers = execFileSync('ssh', ['-Q', 'cipher'], { encoding: 'utf8' }).trim().split('\n');
    assert.ok(ciphers.length >= 6);
    for (const cipher of ciphers) {
      const path = join(directory, cipher);
      copyFileSync(join(directory, 'key'), path);
      keygen('-q', '-p', '-P', '', '-N', passphrase, '-Z', cipher, '-f', path);
      if (/^aes.*(?:ctr|cbc|gcm)/.test(cipher)) {
        assert.equal((await open(path, passphrase)).type, 'ed25519', cipher);
        await assert.rejects(open(path, 'something else'), refusal('key-passphrase'), cipher);
      } else {
        await assert.rejects(open(path, passphrase), refusal('key-format', /encrypted with/), cipher);
      }
    }
  });

  test('reads the files of openssl: SEC1 after its parameters, PKCS#8, CRLF, old encryption', async (context) => {
    const directory = ownDirectory(context);
    const openssl = (name: string, command: string, ...words: string[]) => {
      execFileSync('openssl', [command, '-out', join(directory, name), ...words], { stdio: 'ignore' });
      return join(directory, name);
    };
    const sec1 = openssl('sec1', 'ecparam', '-name', 'secp384r1', '-genkey');
    assert.match(readFileSync(sec1, 'utf8'), /BEGIN EC PARAMETERS/);
    assert.equal((await open(sec1)).type, 'ecdsa-p384');
    assert.equal((await open(openssl('ed', 'genpkey', '-algorithm', 'ed25519'))).type, 'ed25519');
    const rsa = openssl('rsa', 'genrsa', '-traditional', '2048');
    const triple = openssl('triple', 'rsa', '-in', rsa, '-des3', '-traditional', '-passout', 'pass:geheim');
    assert.equal((await open(triple, 'geheim')).type, 'rsa-2048');
    const words = ['-provider', 'legacy', '-provider', 'default'];
    const des = openssl(
      'des',
      'rsa',
      ...words,
      '-in',
      rsa,
      '-des',
      '-traditional',
      '-passout',
      'pass:geheim',
    );
    await assert.rejects(open(des, 'geheim'), refusal('key-format', /an outdated cipher/));

    for (const path of [rsa, sec1]) {
      writeFileSync(`${path}-crlf`, readFileSync(path, 'utf8').replaceAll('\n', '\r\n'));
      assert.equal((await open(`${path}-crlf`)).line, (await open(path)).line);
    }
  });

  test('refuses unsupported keys with a reason', async (context) => {
    const directory = ownDirectory(context);
    const openssl = (...words: string[]) =>
      execFileSync('openssl', words, { stdio: ['ignore', 'pipe', 'ignore'] });
    const line = makeKey(directory, 'good', '-t', 'ed25519');
    const good = readFileSync(join(directory, 'good'), 'utf8');
    const parameters = openssl('dsaparam', '1024');
    writeFileSync(join(directory, 'parameters'), parameters);
    const dsa = openssl('gendsa', join(directory, 'parameters'));
    const cases: readonly [string | Buffer, RegExp, ('key-invalid' | 'key-format')?][] = [
      ['', /not a private key/],
      ['hello', /not a private key/],
      [line, /public key/],
      [openssl('rsa', '-in', writeTo('r', openssl('genrsa', '2048')), '-pubout'), /public key/],
      [openssl('genrsa', '1024'), /RSA key of 1024 bits/],
      [dsa, /DSA/],
      [openssl('ecparam', '-name', 'secp256k1', '-genkey'), /curve/],
      [openssl('genpkey', '-algorithm', 'x25519'), /x25519/],
      [openssl('genpkey', '-algorithm', 'rsa-pss'), /rsa-pss/],
      [good.slice(0, good.length / 2), /cut off or damaged/],
      [
        openSshKeyOf('ssh-mldsa44-ed25519@openssh.com'),
        /keys of type ssh-mldsa44-ed25519@openssh\.com are not supported/,
      ],
      [good.replace(/^(.{70}\n.{30}).{8}/m, '$1AAAAAAAA'), /damaged|belongs to another/],
      [`${good}${good}`, /more than one key/],
      ['PuTTY-User-Key-File-3: ssh-ed25519\n', /PuTTY/, 'key-format'],
      [good.replaceAll('OPENSSH', 'PGP'), /SSH does not support this kind of private key/],
    ];
    for (const [bytes, message, code = 'key-invalid'] of cases) {
      const path = writeTo('case', bytes);
      await assert.rejects(open(path), refusal(code, message), `${message}`);
    }
    function writeTo(name: string, bytes: string | Buffer): string {
      writeFileSync(join(directory, name), bytes);
      return join(directory, name);
    }
  });

  test('refuses a file that is truncated anywhere, and quotes no part of it', async (context) => {
    const directory = ownDirectory(context);
    makeKey(directory, 'key', '-t', 'ed25519');
    const whole = readFileSync(join(directory, 'key'));
    assert.ok(statSync(join(directory, 'key')).size > 300);
    const inside = Buffer.from(whole.toString().split('\n').slice(1, -2).join(''), 'base64');
    const framed = (bytes: Buffer) =>
      Buffer.from(
        `-----BEGIN OPENSSH PRIVATE KEY-----\n${bytes.toString('base64')}\n-----END OPENSSH PRIVATE KEY-----\n`,
      );
    const cuts = [
      ...Array.from({ length: 60 }, (_, at) => whole.subarray(0, at * 6)),
      ...Array.from({ length: inside.length }, (_, at) => framed(inside.subarray(0, at))),
    ];
    for (const bytes of cuts) {
      const opened = (async () => openKeyFile(parseKeyFile(bytes), undefined))();
      await assert.rejects(opened, (error: Error) => {
        assert.ok(refusal('key-invalid')(error));
        return !/[A-Za-z0-9+/]{30}/.test(error.message);
      });
    }
  });

  test('a passphrase that would take hours to try is refused before it is asked', async (context) => {
    const directory = ownDirectory(context);
    makeKey(directory, 'key', '-t', 'ed25519');
    keygen('-q', '-p', '-P', '', '-N', passphrase, '-f', join(directory, 'key'));
    const text = readFileSync(join(directory, 'key'), 'utf8');
    const bytes = Buffer.from(text.split('\n').slice(1, -2).join(''), 'base64');
    // magic, "aes256-ctr", "bcrypt", then the options: a salt of 16 bytes and the rounds.
    bytes.writeUInt32BE(0xffffffff, 15 + 14 + 10 + 4 + 4 + 16);
    const made = text.replace(/\n[\s\S]+\n-/, `\n${bytes.toString('base64')}\n-`);
    assert.throws(() => parseKeyFile(Buffer.from(made)), refusal('key-format', /4294967295 rounds/));
  });
});

/** A key of that type in OpenSSH's format (PROTOCOL.key), with a secret part of zeros. */
function openSshKeyOf(type: string): string {
  const fields = ['none', 'none', '', encodeUint32(1)].map((each) =>
    typeof each === 'string' ? encodeString(each) : each,
  );
  const blob = Buffer.concat([encodeString(type), encodeString(Buffer.alloc(1344))]);
  const bytes = Buffer.concat([
    Buffer.from('openssh-key-v1\0'),
    ...fields,
    encodeString(blob),
    encodeString(Buffer.alloc(256)),
  ]);
  const [begin, end] = ['BEGIN', 'END'].map((word) => `-----${word} OPENSSH PRIVATE KEY-----`);
  return `${begin}\n${bytes.toString('base64')}\n${end}\n`;
}
