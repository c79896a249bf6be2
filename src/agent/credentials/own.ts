/**
 * `identity`: a key of the user's own, with the private half in the user's agent, a file or a hardware token. It is pushed
 * like an ephemeral key, or (`access = "injected"`) the VM accepts it already.
 */
import { existsSync } from 'node:fs';
import { MintError } from '../../errors.ts';
import { fingerprintOf, readKeyLine } from '../../keys/key-line.ts';
import { quoted, readPrivateFile } from '../../platform/files.ts';
import { bitLength, parseHostKey } from '../../ssh/hostkey.ts';
import { WireReader } from '../../ssh/wire.ts';
import type { RefusalWords } from '../control/protocol.ts';
import { type Credential, type Login, loginLimitMs, nothingToDo } from './credential.ts';
import type { KeyToPush } from './pushed.ts';

/** A `.pub` file is not larger. */
const maxBytes = 16_384;
/** The length of the line that SendSSHPublicKey accepts, in characters. */
const lineLength = { min: 80, max: 4096 };
const minRsaBits = 2048;

/**
 * The key in the file, to be pushed. The file is read again for each connection.
 * @throws MintError as `readIdentity`
 */
export function pushedOwnKey({ vm, user }: Login, path: string): KeyToPush {
  const { line, fingerprint } = readIdentity(path);
  return {
    isSignedElsewhere: true,
    signingKey: undefined,
    fingerprint,
    refusal: refusalOf(vm.name, user, path),
    push(scope, send) {
      // Another key in the file is another push.
      const whole = `${scope} ${line}`;
      return vm.ownKeyPushes.live(whole) ?? vm.ownKeyPushes.begin(whole, () => send(line));
    },
    release: () => {},
  };
}

/**
 * The key in the file, which the VM accepts already: nothing is pushed.
 * @throws MintError as `readIdentity`
 */
export function installedOwnKey({ vm, user }: Login, path: string): Credential {
  const { fingerprint } = readIdentity(path, 'installed');
  return {
    ...nothingToDo,
    fingerprint,
    isSignedElsewhere: true,
    listed: undefined,
    signingKey: undefined,
    remainingMs: loginLimitMs,
    refusal: refusalOf(vm.name, user, path),
  };
}

function refusalOf(vm: string, user: string, path: string): RefusalWords {
  return {
    code: 'login-refused',
    message: `${vm} did not accept the key in ${quoted(path)} for user ${user}`,
    hint:
      `check that it has a user ${user}, and that your client offers that key; ` +
      '`ssh-add -L` shows the keys in your agent',
  };
}

/**
 * Reads the key of a public key file.
 * @param use `pushed`: Instance Connect accepts only Ed25519 and RSA. `installed`: nothing is pushed, and the VM and the
 *   user's agent decide which types they know: ECDSA, security keys, certificates.
 * @returns type and base64 as one line, without the comment, and the fingerprint
 * @throws MintError `bad-settings` if the file does not exist, `key-private`, `key-invalid` for a key that Instance
 *   Connect does not accept, `unsafe-permissions`
 */
export function readIdentity(
  path: string,
  use: 'pushed' | 'installed' = 'pushed',
): { readonly line: string; readonly fingerprint: string } {
  if (!existsSync(path)) {
    throw new MintError('bad-settings', `identity names ${quoted(path)}, which does not exist`, {
      hint: '`ssh-keygen -t ed25519` makes a key, and `ssh-add -L` prints the public keys in your agent',
    });
  }
  const text = readPrivateFile(path, { maxBytes: maxBytes })?.toString('latin1') ?? '';
  if (/PRIVATE KEY/.test(text)) {
    throw new MintError('key-private', `identity names ${quoted(path)}, which is a private key`, {
      hint: 'name its public half: the file beside it that ends in .pub',
    });
  }
  const lines = text.split(/\r?\n/).filter((line) => !/^\s*(?:#|$)/.test(line));
  const key = lines.length === 1 ? readKeyLine(lines[0] ?? '') : undefined;
  if (key === undefined || key.options !== '') throw unfit(path, 'does not hold one public key');
  const { type, blob } = key;
  if (use === 'installed')
    return { line: `${type} ${blob.toString('base64')}`, fingerprint: fingerprintOf(key) };
  if (type !== 'ssh-ed25519' && type !== 'ssh-rsa') {
    throw unfit(path, `holds a key of type ${quoted(type.slice(0, 60))}`);
  }
  const fingerprint = checkedFingerprint(path, type, blob);
  const line = `${type} ${blob.toString('base64')}`;
  if (line.length < lineLength.min || line.length > lineLength.max)
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
    if (bitLength(reader.mpint()) >= minRsaBits) return fingerprint;
  } catch {
    throw unfit(path, 'holds a damaged key');
  }
  throw unfit(path, `holds an RSA key of less than ${minRsaBits} bits`);
}

function unfit(path: string, what: string): MintError {
  return new MintError('key-invalid', `the file that identity names ${what}: ${quoted(path)}`, {
    hint: 'EC2 Instance Connect accepts Ed25519 and RSA keys, in the form "ssh-ed25519 AAAA… comment"',
  });
}
