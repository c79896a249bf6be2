/** A temporary configuration directory, keys of every type, and readers for the files. */
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { type Paths, resolvePaths, vmPaths } from '../../src/platform/paths.ts';
import { type HostKey, parseHostKey } from '../../src/ssh/hostkey.ts';

export function temporaryPaths(context: TestContext): Paths {
  const dir = mkdtempSync(join(tmpdir(), 'mint-trust-'));
  context.after(() => rmSync(dir, { recursive: true, force: true }));
  return resolvePaths({ configDir: join(dir, 'mint') }, {});
}

export function ed25519Key(): HostKey {
  const { x } = publicJwk(generateKeyPairSync('ed25519').publicKey);
  return parseHostKey(blob('ssh-ed25519', decoded(x)));
}

export function ecdsaKey(): HostKey {
  const { x, y } = publicJwk(generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey);
  const point = Buffer.concat([Buffer.of(4), decoded(x), decoded(y)]);
  return parseHostKey(blob('ecdsa-sha2-nistp256', Buffer.from('nistp256'), point));
}

export function certificate(): HostKey {
  return parseHostKey(blob('ssh-ed25519-cert-v01@openssh.com', Buffer.alloc(32)));
}

export function lineOf(vm: string, key: HostKey): string {
  return `${vm}=${key.fingerprint}\n`;
}

/** The derived file with these keys. */
export function derivedOf(vm: string, ...keys: readonly HostKey[]): string {
  return keys.map((key) => `${vm} ${key.type} ${key.blob.toString('base64')}\n`).join('');
}

/** The keys in a record file. */
export function keysOfRecord(record: Record<string, unknown> | undefined): Record<string, unknown>[] {
  return (record?.['keys'] ?? []) as Record<string, unknown>[];
}

export function contents(path: string): string | undefined {
  try {
    return readFileSync(path, 'latin1');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** The three files of a VM as text; undefined if missing. */
export function filesOf(paths: Paths, vm: string) {
  const files = vmPaths(paths, vm);
  const record = contents(files.record);
  return {
    line: contents(paths.knownHosts),
    record: record === undefined ? undefined : (JSON.parse(record) as Record<string, unknown>),
    derived: contents(files.knownHosts),
  };
}

function publicJwk(key: KeyObject) {
  return key.export({ format: 'jwk' });
}

function decoded(text: string | undefined): Buffer {
  return Buffer.from(text ?? '', 'base64url');
}

function blob(type: string, ...fields: Buffer[]): Buffer {
  const strings = [Buffer.from(type), ...fields].map((field) => {
    const length = Buffer.alloc(4);
    length.writeUInt32BE(field.length);
    return Buffer.concat([length, field]);
  });
  return Buffer.concat(strings);
}
