/**
 * `hosts/<vm>.known_hosts`: the VM's pinned keys in OpenSSH's format, for ssh's own strict check.
 *
 * The agent writes it from the record. ssh writes to it too (`UpdateHostKeys yes`): inside a session with a host whose
 * key is in the file, that host proves which other keys it owns, and ssh adds those and drops keys that the host no
 * longer offers. `TrustStore` adopts these changes under the conditions of its method `#adopt`.
 */
import { lstatSync, readdirSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { ioFailed, readPrivateFile, writeAtomic } from '../platform/files.ts';
import { verifiableKeyTypes } from '../ssh/host-key-algorithm.ts';
import { type HostKey, parseHostKey } from '../ssh/hostkey.ts';

/** ssh keeps the replaced text in `<vm>.known_hosts.old`. */
const derivedEndings = ['.known_hosts', '.known_hosts.old', '.libssh_known_hosts'];
const recordEnding = '.json';
/** The temporary names of `writeAtomic`, which a killed process leaves behind. */
const temporaryName = /^\..+\.[0-9a-f]{16}\.tmp$/;
/** ssh's temporary names: the path and ten letters, by `mkstemp`. */
const sshTemporaryName = /\.known_hosts\.[A-Za-z0-9]{6,12}$/;
const temporaryMs = 60_000;
/** The maximum size of the file; the largest RSA key takes 3 KB. */
const maxBytes = 64 * 1024;
/** The maximum number of keys in the file. */
export const maxKeys = 16;

/**
 * @returns the text of `hosts/<vm>.known_hosts`. The generated Host block sets HostKeyAlias to the VM's name, so the file
 *   has neither port nor address
 */
export function derivedText(vm: string, keys: readonly HostKey[]): string {
  return keys.map((key) => lineOf(vm, key)).join('');
}

/**
 * @returns the text of `hosts/<vm>.libssh_known_hosts`. libssh does not support HostKeyAlias, and looks for the name with
 *   the port. It is a separate file because ssh does not update keys that the file has under another name too
 */
export function libsshText(vm: string, keys: readonly HostKey[]): string {
  return keys.map((key) => lineOf(`[${vm}]:*`, key)).join('');
}

function lineOf(name: string, { type, blob }: HostKey): string {
  return `${name} ${type} ${blob.toString('base64')}\n`;
}

/**
 * @returns the file as text; undefined if it does not exist
 * @throws MintError `io-failed`, `unsafe-permissions`
 */
export function readDerived(path: string): string | undefined {
  return readPrivateFile(path, { maxBytes })?.toString('latin1');
}

/**
 * @returns the keys of the VM in the text, at most 16. Other lines are ignored: hashed names, markers, patterns,
 *   certificates, and keys of types that cannot be verified
 */
export function keysIn(text: string, vm: string): HostKey[] {
  const keys: HostKey[] = [];
  for (const line of text.split('\n')) {
    const [name, type, base64 = ''] = line.split(' ');
    if (name !== vm || keys.length >= maxKeys) continue;
    const key = readKey(type, base64);
    if (key !== undefined && !keys.some(({ blob }) => blob.equals(key.blob))) keys.push(key);
  }
  return keys;
}

function readKey(type: string | undefined, base64: string): HostKey | undefined {
  const blob = Buffer.from(base64, 'base64');
  if (blob.length === 0 || blob.toString('base64') !== base64) return undefined;
  try {
    const key = parseHostKey(blob);
    return key.type === type && verifiableKeyTypes.has(key.type) ? key : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Makes the file hold exactly this text.
 * @param found what it holds now
 * @throws MintError `io-failed`
 */
export function putDerived(path: string, text: string, found: string | undefined): void {
  if (text === found) return;
  if (text === '') removeFile(path);
  else writeAtomic(path, text, { mode: 0o600 });
}

/**
 * Removes the derived files in `hosts` that have no record, and what interrupted writes left. An empty one stays: it is there
 * from the moment the VM's block is written, for clients that read it before they connect.
 * @throws MintError `io-failed`
 */
export function removeOrphans(hosts: string): void {
  const names = new Set(namesIn(hosts));
  for (const name of names) {
    const ending = derivedEndings.find((each) => name.endsWith(each));
    const isOrphan = ending !== undefined && !names.has(`${name.slice(0, -ending.length)}${recordEnding}`);
    if ((isOrphan && !isEmpty(join(hosts, name))) || isAbandoned(hosts, name)) removeFile(join(hosts, name));
  }
}

/**
 * The VMs that have a record in `hosts`.
 * @throws MintError `io-failed`
 */
export function recordedNames(hosts: string): string[] {
  return namesIn(hosts)
    .filter((name) => name.endsWith(recordEnding))
    .map((name) => name.slice(0, -recordEnding.length));
}

/**
 * @returns false if the file did not exist
 * @throws MintError `io-failed`
 */
export function removeFile(path: string): boolean {
  try {
    unlinkSync(path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw ioFailed('remove', path, error);
  }
}

function isEmpty(path: string): boolean {
  const stats = lstatSync(path, { throwIfNoEntry: false });
  return stats?.isFile() === true && stats.size === 0;
}

function isAbandoned(directory: string, name: string): boolean {
  if (!temporaryName.test(name) && !sshTemporaryName.test(name)) return false;
  const stats = lstatSync(join(directory, name), { throwIfNoEntry: false });
  return stats !== undefined && Math.abs(Date.now() - stats.mtimeMs) > temporaryMs;
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw ioFailed('list', directory, error);
  }
}
