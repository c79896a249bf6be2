/** Host keys for the sshds of the tests, made by ssh-keygen. */
import { execFileSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';

export type HostKeyType = 'ed25519' | 'ecdsa' | 'rsa';

export interface HostKey {
  readonly type: HostKeyType;
  /** `<type> <base64>`. */
  readonly line: string;
  /** `SHA256:…` */
  readonly fingerprint: string;
}

/** Writes a new key pair to `path` and `path.pub`, replacing old ones. `ecdsa` is nistp256, `rsa` has 3072 bits. */
export function makeHostKey(path: string, type: HostKeyType): HostKey {
  for (const file of [path, `${path}.pub`]) rmSync(file, { force: true });
  if (type === 'rsa') {
    const made = nextRsaKey();
    for (const end of ['', '.pub']) copyFileSync(made + end, path + end);
  } else generate(path, type);
  const line = readFileSync(`${path}.pub`, 'utf8').trim();
  const printed = execFileSync('ssh-keygen', ['-l', '-f', path], { encoding: 'utf8' });
  return { type, line, fingerprint: printed.split(' ')[1] ?? '' };
}

function generate(path: string, type: HostKeyType): void {
  execFileSync('ssh-keygen', ['-q', '-t', type, '-N', '', '-C', '', '-f', path]);
}

/**
 * An RSA key takes most of a second to make. Each test process takes the same ones in the same order from a cache, so that
 * two VMs of one process never have the same key.
 */
const rsaCache = join(import.meta.dirname, '../../node_modules/.cache/test-host-keys');
let taken = 0;

function nextRsaKey(): string {
  const name = String(taken++);
  const path = join(rsaCache, name, 'key');
  if (existsSync(path)) return path;
  mkdirSync(rsaCache, { recursive: true });
  const made = mkdtempSync(join(rsaCache, 'new-'));
  generate(join(made, 'key'), 'rsa');
  try {
    renameSync(made, dirname(path));
  } catch (error) {
    // Another test process was faster.
    rmSync(made, { recursive: true });
    if (!existsSync(path)) throw error;
  }
  return path;
}
