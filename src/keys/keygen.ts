/**
 * Checks public keys with `ssh-keygen`, which is installed with ssh. It knows every kind of key that this OpenSSH accepts,
 * including security keys and certificates, whose signatures it verifies. sshpk and ssh2 know neither.
 */
import { spawn } from 'node:child_process';
import { MintError } from '../errors.ts';

export interface Inspected {
  /** `SHA256:` and 43 base64 characters; of a certificate, that of the key inside. */
  readonly fingerprint: string;
  /** The type as `ssh-keygen -l` shows it: `ED25519`, `ECDSA-SK`, `RSA-CERT`. */
  readonly kind: string;
}

const timeoutMs = 10_000;

/**
 * Runs ssh-keygen on a key. Only the type and the base64 are passed, on stdin; comment and options are not.
 *
 * @returns undefined if OpenSSH does not accept the key
 * @throws MintError `io-failed` if ssh-keygen cannot be run
 */
export function inspectKey(type: string, base64: string): Promise<Inspected | undefined> {
  return new Promise((resolve, reject) => {
    const child = spawn('ssh-keygen', ['-l', '-E', 'sha256', '-f', '-'], {
      stdio: ['pipe', 'pipe', 'ignore'],
      timeout: timeoutMs,
    });
    let answer = '';
    child.stdout.setEncoding('latin1').on('data', (text: string) => {
      answer += text;
    });
    // Ignored: if ssh-keygen ends before it has read its input, its status decides.
    child.stdin.on('error', () => {}).end(`${type} ${base64}\n`);
    child.once('error', (cause) => reject(noKeygen(cause)));
    child.once('close', (status, signal) => {
      if (signal !== null) reject(noKeygen(new Error(`ssh-keygen was ended by ${signal}`)));
      const [, fingerprint, kind] =
        /^\d+ (SHA256:[A-Za-z0-9+/]{43}) .*\(([A-Z0-9-]+)\)\n$/.exec(answer) ?? [];
      const accepted = status === 0 && fingerprint !== undefined && kind !== undefined;
      resolve(accepted ? { fingerprint, kind } : undefined);
    });
  });
}

function noKeygen(cause: unknown): MintError {
  return new MintError('io-failed', 'cannot run ssh-keygen, which checks keys', {
    cause,
    hint: 'install the OpenSSH client, for example: apt-get install openssh-client',
  });
}
