/**
 * OpenSSH's own key parser, through `ssh-keygen`: there is one wherever there is ssh, and it knows every kind
 * of key that this OpenSSH accepts, security keys and certificates (with the signature in them) included. No
 * parser in JavaScript does: sshpk and ssh2 know neither.
 */
import { spawn } from 'node:child_process';
import { MintError } from '../errors.ts';

export interface Inspected {
  /** `SHA256:` and 43 base64 characters; of a certificate, that of the key inside. */
  readonly fingerprint: string;
  /** As OpenSSH names it to people: `ED25519`, `ECDSA-SK`, `RSA-CERT`. */
  readonly kind: string;
}

const limitMilliseconds = 10_000;

/**
 * Undefined when OpenSSH does not accept it. It is given the type and the base64 alone, on stdin: nothing of
 * a comment or an option gets there. @throws MintError `io-failed` when there is no ssh-keygen
 */
export function inspectKey(type: string, base64: string): Promise<Inspected | undefined> {
  return new Promise((resolve, reject) => {
    const child = spawn('ssh-keygen', ['-l', '-E', 'sha256', '-f', '-'], {
      stdio: ['pipe', 'pipe', 'ignore'],
      timeout: limitMilliseconds,
    });
    let answer = '';
    child.stdout.setEncoding('latin1').on('data', (text: string) => {
      answer += text;
    });
    // One that ends before it has read all is judged by its status.
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
  return new MintError('io-failed', 'ssh-keygen could not be run, and without it no key can be checked', {
    cause,
    hint: 'it comes with the OpenSSH client, for example with `apt-get install openssh-client`',
  });
}
