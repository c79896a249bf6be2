/**
 * The address of a VM at its last host key check: `cache/<vm>.address`, one line. The proxy dials it while the name is
 * being resolved. It is only a cache, and safe to delete.
 */
import { isIP } from 'node:net';
import { ensureClosedDirectory, readPrivateFile, writeAtomic } from '../platform/files.ts';
import { type Paths, vmPaths } from '../platform/paths.ts';

export interface Address {
  /** An IPv4 or IPv6 address, never a name. */
  readonly host: string;
  readonly port: number;
}

/** The longest IPv6 address, a port and a line end. */
const maxBytes = 64;

/**
 * @param vm as `vmName` returned it
 * @returns the last address; undefined if there is none, or the file is invalid
 */
export function readLastAddress(paths: Paths, vm: string): Address | undefined {
  try {
    const text = readPrivateFile(vmPaths(paths, vm).lastAddress, { maxBytes: maxBytes })?.toString('latin1');
    const [, host = '', port] = /^([0-9a-f.:]{2,45}) (\d{1,5})\n$/.exec(text ?? '') ?? [];
    return isIP(host) !== 0 && isPort(Number(port)) ? { host, port: Number(port) } : undefined;
  } catch {
    return undefined;
  }
}

function isPort(port: number): boolean {
  return port > 0 && port < 65_536;
}

/** Writes the addresses; each file only if its address changes. */
export class LastAddresses {
  readonly #paths: Paths;
  readonly #noted = new Map<string, string>();

  constructor(paths: Paths) {
    this.#paths = paths;
  }

  /** Never throws: it is only a cache. */
  note(vm: string, { host, port }: Address): void {
    if (isIP(host) === 0) return;
    const line = `${host.toLowerCase()} ${port}\n`;
    if (this.#noted.get(vm) === line) return;
    this.#noted.set(vm, line);
    const known = readLastAddress(this.#paths, vm);
    if (known !== undefined && `${known.host} ${known.port}\n` === line) return;
    try {
      ensureClosedDirectory(this.#paths.cache);
      writeAtomic(vmPaths(this.#paths, vm).lastAddress, line, { mode: 0o600 });
    } catch {
      // A full disk, or a directory of another user: the next connection dials after the name is resolved.
    }
  }
}
