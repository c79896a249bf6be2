/** Who is let into a failed VM, and the lines of authorized_keys for them. */
import { generateKeyPairSync } from 'node:crypto';
import { printable } from '../cli/terminal.ts';
import { MintError } from '../errors.ts';
import { readKeySource } from '../keys/key-source.ts';
import { parsePublicKey, publicKeyText } from '../keys/public-key.ts';
import { encodePrivateKey } from '../keys/store/private-key.ts';
import { publicKeyLine } from '../ssh/key-encoding.ts';

export interface Visitors {
  readonly keys: readonly { readonly line: string; readonly fingerprint: string }[];
  /** A one-off private key, as a file of OpenSSH's: the only secret, and meant to be printed. */
  readonly privateKey: string | undefined;
}

/** More keys than this are nobody's own. */
const mostKeys = 50;

/**
 * The keys that `--authorize` names, each a key or a file of keys as code hosts serve it, or with `printKey` a new one.
 * @throws MintError `usage`, `key-invalid`, `key-options`, `key-private`, `io-failed`
 */
export async function visitorsFrom(
  authorize: readonly string[],
  printKey: boolean,
  comment: string,
): Promise<Visitors> {
  if (printKey === authorize.length > 0) {
    throw new MintError('usage', 'who is let in?', {
      hint: '--authorize KEY|FILE with their own public keys, or --print-key for a one-off key in the log; one of them',
    });
  }
  if (printKey) return await oneOff(comment);
  const keys = new Map<string, Visitors['keys'][number]>();
  for (const source of authorize) {
    const lines = keyLines(readKeySource([source]));
    if (lines.length === 0) throw new MintError('key-invalid', `there is no key in ${shown(source)}`);
    if (keys.size + lines.length > mostKeys) {
      throw new MintError(
        'key-invalid',
        `${shown(source)} has too many keys: at most ${mostKeys} are let in`,
      );
    }
    for (const line of lines) {
      const key = await parsePublicKey(Buffer.from(line, 'latin1'));
      // Comments are others' words; the log and the VM can do without.
      keys.set(key.fingerprint, { line: publicKeyText({ ...key, comment }), fingerprint: key.fingerprint });
    }
  }
  return { keys: [...keys.values()], privateKey: undefined };
}

async function oneOff(comment: string): Promise<Visitors> {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  const file = await encodePrivateKey(privateKey, 'openssh', { comment });
  const { fingerprint } = await parsePublicKey(Buffer.from(publicKeyLine(publicKey)));
  return {
    keys: [{ line: `${publicKeyLine(publicKey)} ${comment}`, fingerprint }],
    privateKey: file.toString('latin1'),
  };
}

/** A private key in a file of several lines is still seen for what it is, by whoever reads its first. */
function keyLines(bytes: Buffer): string[] {
  return bytes
    .toString('latin1')
    .split(/\r?\n/)
    .filter((line) => !/^[ \t]*(?:#|$)/.test(line));
}

/** The end of a key's life is the VM's own time; beyond that it gives a terminal, and what was asked for. */
export function authorizedLine(line: string, expiry: string, forwarding: boolean): string {
  const options = ['restrict', 'pty', ...(forwarding ? ['port-forwarding'] : []), `expiry-time="${expiry}"`];
  return `${options.join(',')} ${line}`;
}

function shown(source: string): string {
  return `"${printable(source.slice(0, 40))}"`;
}
