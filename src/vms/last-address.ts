/**
 * The address of a VM at its last host key check: `cache/<vm>.address`, one line. The proxy dials it before the name is
 * resolved; it decides nothing, and is safe to delete.
 */
import { isIP } from 'node:net';
import { ensureClosedDirectory, readPrivateFile, writeAtomic } from '../platform/files.ts';
import { type Paths, vmPaths } from '../platform/paths.ts';

export interface Address {
  /** IPv4 or IPv6, never a name. */
  readonly host: string;
  readonly port: number;
}

/** The longest IPv6 address, a port and a line's end. */
const maxBytes = 64;

/** Undefined where nothing is known, or what is there is not right. @param vm a name that `vmName` gave */
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

/** Notes the addresses; a file is written only when one changes. */
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
      // A full disk, a directory of another's: the next connection dials when it has been told where.
    }
  }
}
