/** `identity`: a key of the user's own, whose private half is in their agent, their file or their hardware. */
import { existsSync } from 'node:fs';
import { MintError } from '../errors.ts';
import { readKeyLine } from '../keys/key-line.ts';
import { quoted, readPrivateFile } from '../platform/files.ts';
import { bitLength, parseHostKey } from '../ssh/hostkey.ts';
import { WireReader } from '../ssh/wire.ts';
import type { Login } from './authorisation.ts';
import type { RefusalWords } from './control/protocol.ts';
import type { PushedKey } from './pushed-authorisation.ts';

/** Bytes of a `.pub` file. */
const mostBytes = 16_384;
/** Characters of what SendSSHPublicKey takes. */
const lineLimits = { least: 80, most: 4096 };
const leastRsaBits = 2048;

/** The key in that file, to be pushed. It is read anew for each connection. @throws MintError as `readIdentity` */
export function identityKey({ vm, user }: Login, path: string): PushedKey {
  const { line, fingerprint } = readIdentity(path);
  return {
    isSignedElsewhere: true,
    signingKey: undefined,
    fingerprint,
    refusal: identityRefusal(vm.name, user, path),
    push(scope, send) {
      // Another key in the file is another push.
      const whole = `${scope} ${line}`;
      return vm.identityPushes.live(whole) ?? vm.identityPushes.begin(whole, () => send(line));
    },
    settle: () => {},
  };
}

export function identityRefusal(vm: string, user: string, path: string): RefusalWords {
  return {
    code: 'login-refused',
    message: `${vm} did not let user ${user} in with the key in ${quoted(path)}`,
    hint:
      `is there a user ${user} on it, and did your client offer that key? ` +
      '`ssh-add -L` shows what your agent holds',
  };
}

/**
 * The bare line of a public key file: type and base64, no comment.
 * @throws MintError `bad-settings` where there is no such file, `key-private`, `key-invalid` for what Instance Connect
 *   does not take, `unsafe-permissions`
 */
export function readIdentity(path: string): { readonly line: string; readonly fingerprint: string } {
  if (!existsSync(path)) {
    throw new MintError('bad-settings', `identity names ${quoted(path)}, which is not there`, {
      hint: '`ssh-keygen -t ed25519` makes a key, and `ssh-add -L` prints the public halves of those in your agent',
    });
  }
  const text = readPrivateFile(path, { maxBytes: mostBytes })?.toString('latin1') ?? '';
  if (/PRIVATE KEY/.test(text)) {
    throw new MintError('key-private', `identity names ${quoted(path)}, which is a private key`, {
      hint: 'name its public half: the file beside it that ends in .pub',
    });
  }
  const lines = text.split(/\r?\n/).filter((line) => !/^\s*(?:#|$)/.test(line));
  const key = lines.length === 1 ? readKeyLine(lines[0] ?? '') : undefined;
  if (key === undefined || key.options !== '') throw unfit(path, 'does not hold one public key');
  const { type, blob } = key;
  if (type !== 'ssh-ed25519' && type !== 'ssh-rsa') {
    throw unfit(path, `holds a key of type ${quoted(type.slice(0, 60))}`);
  }
  const fingerprint = checkedFingerprint(path, type, blob);
  const line = `${type} ${blob.toString('base64')}`;
  if (line.length < lineLimits.least || line.length > lineLimits.most)
    throw unfit(path, 'holds a key of that size');
  return { line, fingerprint };
}

function checkedFingerprint(path: string, type: string, blob: Buffer): string {
  try {
    const { fingerprint } = parseHostKey(blob);
    if (type !== 'ssh-rsa') return fingerprint;
    const reader = new WireReader(blob);
    reader.string();
    reader.mpint();
    if (bitLength(reader.mpint()) >= leastRsaBits) return fingerprint;
  } catch {
    throw unfit(path, 'holds a damaged key');
  }
  throw unfit(path, `holds an RSA key of less than ${leastRsaBits} bits`);
}

function unfit(path: string, what: string): MintError {
  return new MintError('key-invalid', `the file that identity names ${what}: ${quoted(path)}`, {
    hint: 'EC2 Instance Connect takes Ed25519 and RSA keys, in the form "ssh-ed25519 AAAA… comment"',
  });
}
