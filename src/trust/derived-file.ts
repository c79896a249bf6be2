/**
 * `hosts/<vm>.known_hosts`: the VM's one key in OpenSSH's format, for ssh's own strict check. Derived from
 * what was judged, never read back to decide anything.
 */
import { lstatSync, readdirSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { ioFailed, readPrivateFile, writeAtomic } from '../platform/files.ts';
import type { HostKey } from '../ssh/hostkey.ts';

const derivedEnding = '.known_hosts';
const recordEnding = '.json';
/** What `writeAtomic` calls a file until it is whole; a killed process leaves it behind. */
const temporaryName = /^\..+\.[0-9a-f]{16}\.tmp$/;
const temporaryMilliseconds = 60_000;
/** The largest RSA key takes 3 KB. */
const derivedBytes = 64 * 1024;

/**
 * The generated Host block sets HostKeyAlias to the VM's name, so that no port and no address stand here. The
 * second pattern is for libssh, which knows no HostKeyAlias and looks for the name with the port.
 */
export function derivedLine(vm: string, { type, blob }: HostKey): string {
  return `${vm},[${vm}]:* ${type} ${blob.toString('base64')}\n`;
}

/** Whether the file is there and holds exactly this key. @throws MintError */
export function holdsKey(path: string, vm: string, key: HostKey): boolean {
  const found = readPrivateFile(path, { maxBytes: derivedBytes });
  return found?.equals(Buffer.from(derivedLine(vm, key))) ?? false;
}

/** Writes the file unless it holds exactly this key. @throws MintError */
export function ensureDerived(path: string, vm: string, key: HostKey): void {
  if (!holdsKey(path, vm, key)) writeAtomic(path, derivedLine(vm, key), { mode: 0o600 });
}

/** Removes the derived files in `hosts` that have no record, and what interrupted writes left. @throws MintError */
export function removeOrphans(hosts: string): void {
  const names = new Set(namesIn(hosts));
  for (const name of names) {
    const vm = name.slice(0, -derivedEnding.length);
    const orphan = name.endsWith(derivedEnding) && !names.has(`${vm}${recordEnding}`);
    if (orphan || isAbandoned(hosts, name)) removeFile(join(hosts, name));
  }
}

/** The VMs that have a record in `hosts`. @throws MintError */
export function recordedNames(hosts: string): string[] {
  return namesIn(hosts)
    .filter((name) => name.endsWith(recordEnding))
    .map((name) => name.slice(0, -recordEnding.length));
}

/** False when there was none. @throws MintError `io-failed` */
export function removeFile(path: string): boolean {
  try {
    unlinkSync(path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw ioFailed('remove', path, error);
  }
}

function isAbandoned(directory: string, name: string): boolean {
  if (!temporaryName.test(name)) return false;
  const stats = lstatSync(join(directory, name), { throwIfNoEntry: false });
  return stats !== undefined && Math.abs(Date.now() - stats.mtimeMs) > temporaryMilliseconds;
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw ioFailed('list', directory, error);
  }
}
