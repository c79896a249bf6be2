/** Reads the visitors' keys for debug access, and authorizes them on the VM. */
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
  /** A one-off private key in OpenSSH's format: the only secret of debug access. The build log shows it. */
  readonly privateKey: string | undefined;
}

export interface VisitorKey {
  /** For authorized_keys, without options. */
  readonly line: string;
  /** `SHA256:…` */
  readonly fingerprint: string;
}

/** The maximum number of keys from one source. */
const maxKeys = 50;

/**
 * Reads the keys of `--authorize`, or makes one.
 *
 * @param authorize public keys, or files with several of them, as code hosts serve them
 * @param printKey whether to make a one-off key instead
 * @param comment the comment for each line, instead of the keys' own
 * @throws MintError `usage`, `key-invalid`, `key-options`, `key-private`, `io-failed`
 */
export async function readVisitorKeys(
  authorize: readonly string[],
  printKey: boolean,
  comment: string,
): Promise<VisitorKeys> {
  if (printKey === authorize.length > 0) {
    throw new MintError('usage', 'give either --authorize or --print-key', {
      hint: '--authorize KEY|FILE for existing keys, --print-key for a one-off key in the log',
    });
  }
  if (printKey) return await makeKey(comment);
  const keys = new Map<string, VisitorKey>();
  for (const source of authorize) {
    const lines = keyLines(readKeySource([source]));
    if (lines.length === 0) throw new MintError('key-invalid', `${shown(source)} contains no key`);
    if (keys.size + lines.length > maxKeys) {
      throw new MintError('key-invalid', `${shown(source)} has more than ${maxKeys} keys`);
    }
    for (const line of lines) {
      const key = await parsePublicKey(Buffer.from(line, 'latin1'));
      // The keys' own comments are untrusted text.
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

/** Returns the lines that are neither blank nor comments. A private key file stays recognizable by its first line. */
function keyLines(bytes: Buffer): string[] {
  return bytes
    .toString('latin1')
    .split(/\r?\n/)
    .filter((line) => !/^[ \t]*(?:#|$)/.test(line));
}

/**
 * Adds the keys to authorized_keys on the VM, with an expiry by the VM's clock. The options prevent forwarding, but do not
 * stop a visitor, who can edit the file as the user it belongs to.
 *
 * @throws MintError `io-failed`, `key-file`
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
