/** New keys of every kind that OpenSSH accepts, and keys with every kind of error. */
import { execFileSync } from 'node:child_process';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { encodeString } from '../../src/ssh/wire.ts';

export function keygen(...words: string[]): string {
  return execFileSync('ssh-keygen', words, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

/** Makes a pair in `directory` and returns the public line, without its line end. */
export function makeKey(directory: string, name: string, ...how: string[]): string {
  const path = join(directory, name);
  keygen('-q', '-N', '', '-C', name, '-f', path, ...how);
  return readFileSync(`${path}.pub`, 'utf8').trim();
}

/** A key of that security key type, as made with the hardware. */
export function securityKeyLine(kind: 'ed25519' | 'ecdsa', comment = 'token'): string {
  const pair =
    kind === 'ed25519' ? generateKeyPairSync('ed25519') : generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const der = pair.publicKey.export({ type: 'spki', format: 'der' });
  const type = kind === 'ed25519' ? 'sk-ssh-ed25519@openssh.com' : 'sk-ecdsa-sha2-nistp256@openssh.com';
  // The key is at the end of its SubjectPublicKeyInfo: 32 bytes, or a point of 65.
  const key = kind === 'ed25519' ? [der.subarray(-32)] : [Buffer.from('nistp256'), der.subarray(-65)];
  const blob = Buffer.concat([type, ...key, 'ssh:'].map((field) => encodeString(field)));
  return `${type} ${blob.toString('base64')} ${comment}`;
}

/** Signs a line, and returns the certificate's line. */
export function certify(directory: string, line: string, ...how: string[]): string {
  const name = join(directory, `to-certify-${randomBytes(4).toString('hex')}`);
  writeFileSync(`${name}.pub`, `${line}\n`);
  const authority = join(directory, 'authority');
  try {
    readFileSync(authority);
  } catch {
    makeKey(directory, 'authority', '-t', 'ed25519');
  }
  keygen('-q', '-s', authority, '-I', 'someone', '-n', 'someone', ...how, `${name}.pub`);
  return readFileSync(`${name}-cert.pub`, 'utf8').trim();
}

/** A hundred comments that try to act on a shell, a file or a terminal. */
export function hostileComments(canary: string): string[] {
  const commands = [`touch ${canary}`, `>${canary}`, `cp /etc/passwd ${canary}`];
  const frames = [
    (text: string) => `$(${text})`,
    (text: string) => `\`${text}\``,
    (text: string) => `; ${text} #`,
    (text: string) => `'; ${text}; '`,
    (text: string) => `"; ${text}; "`,
    (text: string) => `\\'; ${text}; \\'`,
    (text: string) => `| ${text}`,
    (text: string) => `&& ${text}`,
    (text: string) => `& ${text} &`,
    (text: string) => `\${x:-$(${text})}`,
    (text: string) => `<(${text})`,
    (text: string) => `%(${text})`,
    (text: string) => `a\n${text}`,
    (text: string) => `a\r${text}`,
    (text: string) => `EOF\n${text}\nEOF`,
    (text: string) => `$'\\n${text}'`,
    (text: string) => `'"$(${text})"'`,
    (text: string) => `#\n${text}`,
    (text: string) => `put 3\n${text}`,
    (text: string) => `\u2028${text}`,
  ];
  const others = [
    '-rf /',
    '--help',
    '~',
    '~root/x',
    '*',
    '?',
    '[a-z]',
    '{a,b}',
    '!!',
    '!$',
    '^a^b',
    '%s%s%s%n',
    '\\',
    '\\\\',
    '\\n',
    '\\0',
    "'",
    '"',
    '`',
    '$',
    '$$',
    '$HOME',
    '$(',
    '${',
    'mint-key-0000000000000000 done',
    'expiry-time="20991231"',
    'command="sh" ssh-ed25519 AAAA',
    'a\0b',
    'a\tb',
    '\u001b[2J\u001b[31m',
    '\u009b31m',
    '\u202egnp.exe',
    '\u200b',
    '\ufeff',
    'ü ß 鍵 🔑',
    'x'.repeat(2_000),
    'x'.repeat(20_000),
    ' '.repeat(100),
    '# a comment',
    '\u007f',
  ];
  return [...frames.flatMap((frame) => commands.map(frame)), ...others];
}
