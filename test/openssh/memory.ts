/** Reads the memory of another process, to check for keys. */
import { createPrivateKey, createPublicKey } from 'node:crypto';
import { closeSync, openSync, readFileSync, readSync } from 'node:fs';

interface Region {
  readonly start: number;
  readonly end: number;
}

/** PKCS#8 of an Ed25519 key up to its 32-byte seed: RFC 8410 §7. */
export const pkcs8Prefix = Buffer.from('302e020100300506032b657004220420', 'hex');
/** How far behind the public key OpenSSL's key structure is searched for the pointer to the seed, in bytes. */
const structureSize = 256;

/** Whether this process may read it: as root, or if the machine lets users trace their own processes. */
export function mayRead(pid: number): boolean {
  try {
    closeSync(openSync(`/proc/${pid}/mem`, 'r'));
    return true;
  } catch {
    return false;
  }
}

/** Where in the writable memory of a process these bytes stand. */
export function findInMemory(pid: number, wanted: Buffer): number[] {
  // An empty pattern would match everywhere.
  if (wanted.length === 0) throw new RangeError('there is nothing to look for');
  return withMemory(pid, (read, regions) => {
    const found: number[] = [];
    for (const { start, end } of regions) {
      const step = 1 << 20;
      for (let at = start; at < end; at += step) {
        const bytes = read(at, Math.min(step + wanted.length - 1, end - at));
        for (let hit = bytes.indexOf(wanted); hit >= 0; hit = bytes.indexOf(wanted, hit + 1))
          found.push(at + hit);
      }
    }
    return found;
  });
}

/**
 * The seed of an Ed25519 key that a process holds: what OpenSSL's key structure points to near the public
 * key, known for the seed by the public key that follows from it. Undefined if there is none.
 */
export function seedInMemory(pid: number, publicKey: Buffer): Buffer | undefined {
  const places = findInMemory(pid, publicKey);
  return withMemory(pid, (read, regions) => {
    for (const place of places) {
      const structure = read(place, structureSize);
      for (let at = 0; at + 8 <= structure.length; at += 1) {
        const pointer = Number(structure.readBigUInt64LE(at));
        if (!regions.some(({ start, end }) => pointer >= start && pointer + 32 <= end)) continue;
        const seed = read(pointer, 32);
        if (seed.length === 32 && publicKeyOf(seed).equals(publicKey)) return seed;
      }
    }
    return undefined;
  });
}

function publicKeyOf(seed: Buffer): Buffer {
  const key = createPrivateKey({ key: Buffer.concat([pkcs8Prefix, seed]), format: 'der', type: 'pkcs8' });
  return createPublicKey(key).export({ format: 'der', type: 'spki' }).subarray(-32);
}

function withMemory<T>(
  pid: number,
  look: (read: (at: number, length: number) => Buffer, regions: readonly Region[]) => T,
): T {
  const regions = readFileSync(`/proc/${pid}/maps`, 'utf8')
    .split('\n')
    .flatMap((line): Region[] => {
      const match = /^([0-9a-f]+)-([0-9a-f]+) rw/.exec(line);
      if (match === null) return [];
      return [{ start: Number.parseInt(match[1] ?? '', 16), end: Number.parseInt(match[2] ?? '', 16) }];
    });
  const descriptor = openSync(`/proc/${pid}/mem`, 'r');
  const read = (at: number, length: number): Buffer => {
    const bytes = Buffer.alloc(length);
    try {
      return bytes.subarray(0, readSync(descriptor, bytes, 0, length, at));
    } catch {
      // It was unmapped after the map was read.
      return bytes.subarray(0, 0);
    }
  };
  try {
    return look(read, regions);
  } finally {
    closeSync(descriptor);
  }
}
