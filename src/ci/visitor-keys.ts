/** The visitors' keys for debug access, and their lines in authorized_keys on the VM. */
import { generateKeyPairSync } from 'node:crypto';
import { printable } from '../cli/terminal.ts';
import { MintError } from '../errors.ts';
import { withKey } from '../keys/authorized-keys.ts';
import { readKeySource } from '../keys/key-source.ts';
import { parsePublicKey, publicKeyText } from '../keys/public-key.ts';
import { type Connect, changeRemoteFile } from '../keys/remote-file.ts';
import { encodePrivateKey } from '../keys/store/private-key.ts';
import { publicKeyLine } from '../ssh/key-encoding.ts';

export interface VisitorKeys {
  readonly keys: readonly VisitorKey[];
  /** A one-off private key in OpenSSH's format. It is meant to be printed, and the only secret of debug access. */
  readonly privateKey: string | undefined;
}

export interface VisitorKey {
  /** For authorized_keys, without options. */
  readonly line: string;
  /** `SHA256:…` */
  readonly fingerprint: string;
}

/** The most keys that one source may give. */
const maxKeys = 50;

/**
 * Reads the keys that `--authorize` names, or makes one.
 *
 * @param authorize public keys, or files of them as code hosts serve them
 * @param printKey make a one-off key instead
 * @param comment for each line, in place of the keys' own
 * @throws MintError `usage`, `key-invalid`, `key-options`, `key-private`, `io-failed`
 */
export async function readVisitorKeys(
  authorize: readonly string[],
  printKey: boolean,
  comment: string,
): Promise<VisitorKeys> {
  if (printKey === authorize.length > 0) {
    throw new MintError('usage', 'give either --authorize or --print-key', {
      hint: '--authorize KEY|FILE for people with keys of their own, --print-key for a one-off key in the log',
    });
  }
  if (printKey) return await makeKey(comment);
  const keys = new Map<string, VisitorKey>();
  for (const source of authorize) {
    const lines = keyLines(readKeySource([source]));
    if (lines.length === 0) throw new MintError('key-invalid', `no key in ${shown(source)}`);
    if (keys.size + lines.length > maxKeys) {
      throw new MintError(
        'key-invalid',
        `${shown(source)} has too many keys: at most ${maxKeys} are accepted`,
      );
    }
    for (const line of lines) {
      const key = await parsePublicKey(Buffer.from(line, 'latin1'));
      // The keys' own comments are other people's text.
      keys.set(key.fingerprint, { line: publicKeyText({ ...key, comment }), fingerprint: key.fingerprint });
    }
  }
  return { keys: [...keys.values()], privateKey: undefined };
}

async function makeKey(comment: string): Promise<VisitorKeys> {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  const file = await encodePrivateKey(privateKey, 'openssh', { comment });
  const { fingerprint } = await parsePublicKey(Buffer.from(publicKeyLine(publicKey)));
  return {
    keys: [{ line: `${publicKeyLine(publicKey)} ${comment}`, fingerprint }],
    privateKey: file.toString('latin1'),
  };
}

/** The first line of a private key's file is still recognized as one by `parsePublicKey`. */
function keyLines(bytes: Buffer): string[] {
  return bytes
    .toString('latin1')
    .split(/\r?\n/)
    .filter((line) => !/^[ \t]*(?:#|$)/.test(line));
}

/**
 * Adds the keys to authorized_keys on the VM, with an end by the VM's own clock. The file belongs to the user whom they
 * log in as: the options keep an honest visitor's clients from forwarding by default, but a visitor can edit the file.
 *
 * @throws MintError as `changeRemoteFile`
 */
export async function authorizeKeys(
  connect: Connect,
  vm: string,
  keys: readonly VisitorKey[],
  seconds: number,
): Promise<void> {
  await changeRemoteFile(connect, { vm, mode: 'change', seconds }, ({ bytes, expiry = '' }) => {
    const lines = keys.map(({ line }) => `restrict,pty,expiry-time="${expiry}" ${line}`);
    return { bytes: lines.reduce(withKey, bytes), result: undefined };
  });
}

function shown(source: string): string {
  return `"${printable(source.slice(0, 40))}"`;
}
