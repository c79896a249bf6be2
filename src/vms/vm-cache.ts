/**
 * The last answers of EC2, by scope and name, in `cache/vms.json`. It is safe to delete. An invalid file is ignored.
 */
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { ensureClosedDirectory, readPrivateFile, writeAtomic } from '../platform/files.ts';
import { withLock } from '../platform/lock.ts';
import type { Paths } from '../platform/paths.ts';
import { type LocatedVm, parseLocatedVm } from './located-vm.ts';

export interface Scope {
  readonly vms: Map<string, LocatedVm>;
  /** The caller's `mint:owner`, computed from STS's answer. */
  owner: string | undefined;
  /** When all of the caller's own VMs were last listed; milliseconds since 1970. */
  listedAt: number | undefined;
  /** When every instance of the region was last listed; milliseconds since 1970. */
  allListedAt: number | undefined;
  usedAt: number;
}

type Scopes = Map<string, Scope>;

const version = 1;
const mostBytes = 16_000_000;
const mostScopes = 32;
const mostVms = 20_000;
const nameLength = 63;
const lockMilliseconds = 500;
/** How long changes are collected before they are written, in milliseconds. */
const gatherMilliseconds = 300;

export class VmCache {
  readonly paths: Paths;
  readonly #file: string;
  #scopes: Scopes = new Map();
  #stamp = '';
  #changes: ((scopes: Scopes) => void)[] = [];
  #timer: NodeJS.Timeout | undefined;

  constructor(paths: Paths) {
    this.paths = paths;
    this.#file = join(paths.cache, 'vms.json');
  }

  /** @returns the content of a scope, with changes that other processes have written */
  scope(key: string): Scope {
    this.#reload();
    return scopeOf(this.#scopes, key);
  }

  /** @returns the names of VMs with Mint's tag, of all callers */
  ownNames(): string[] {
    this.#reload();
    const all = [...this.#scopes.values()].flatMap(({ vms }) => [...vms]);
    return all.filter(([, { found }]) => found === 'tag').map(([name]) => name);
  }

  /** Changes a scope in memory at once, and in the file soon after. */
  change(key: string, action: (scope: Scope) => void): void {
    const change = (scopes: Scopes) => {
      const scope = scopeOf(scopes, key);
      scope.usedAt = Date.now();
      action(scope);
    };
    this.#reload();
    change(this.#scopes);
    this.#changes.push(change);
    this.#timer ??= setTimeout(() => this.flush(), gatherMilliseconds).unref();
  }

  /** Merges the changes into the file. Never throws: it is only a cache. */
  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const changes = this.#changes;
    this.#changes = [];
    if (changes.length === 0) return;
    try {
      ensureClosedDirectory(this.paths.cache);
      withLock(join(this.paths.cache, 'lock'), lockMilliseconds, () => {
        const scopes = readScopes(this.#file);
        for (const change of changes) change(scopes);
        prune(scopes);
        writeAtomic(this.#file, format(scopes), { mode: 0o600 });
        this.#scopes = scopes;
        this.#stamp = stampOf(this.#file);
      });
    } catch {
      // A full disk, or a directory of another user: the answers stay in the memory of this process.
    }
  }

  #reload(): void {
    const stamp = stampOf(this.#file);
    if (stamp === this.#stamp) return;
    this.#stamp = stamp;
    this.#scopes = readScopes(this.#file);
    for (const change of this.#changes) change(this.#scopes);
  }
}

function scopeOf(scopes: Scopes, key: string): Scope {
  let scope = scopes.get(key);
  if (scope === undefined) {
    scope = {
      vms: new Map(),
      owner: undefined,
      listedAt: undefined,
      allListedAt: undefined,
      usedAt: Date.now(),
    };
    scopes.set(key, scope);
  }
  return scope;
}

function stampOf(file: string): string {
  try {
    const { ino, mtimeMs, size } = statSync(file);
    return `${ino} ${mtimeMs} ${size}`;
  } catch {
    return 'none';
  }
}

/** Keeps the scopes that were used last. */
function prune(scopes: Scopes): void {
  const oldestFirst = [...scopes].sort(([, one], [, other]) => one.usedAt - other.usedAt);
  for (const [key] of oldestFirst.slice(0, Math.max(0, scopes.size - mostScopes))) scopes.delete(key);
}

function format(scopes: Scopes): string {
  const entries = [...scopes].map(([key, { vms, ...rest }]) => [
    key,
    { ...rest, vms: Object.fromEntries([...vms].slice(-mostVms)) },
  ]);
  return `${JSON.stringify({ version, scopes: Object.fromEntries(entries) })}\n`;
}

function readScopes(file: string): Scopes {
  try {
    const bytes = readPrivateFile(file, { maxBytes: mostBytes });
    return bytes === undefined ? new Map() : parseScopes(bytes.toString('utf8'));
  } catch {
    return new Map();
  }
}

/**
 * @param text the content of `vms.json`
 * @returns its valid entries; none for a file of another version
 */
export function parseScopes(text: string): Scopes {
  const scopes: Scopes = new Map();
  let file: unknown;
  try {
    file = JSON.parse(text);
  } catch {
    return scopes;
  }
  const { version: found, scopes: all } = record(file);
  if (found !== version) return scopes;
  for (const [key, value] of Object.entries(record(all)).slice(0, mostScopes)) {
    const { vms, owner, listedAt, allListedAt, usedAt } = record(value);
    const known = new Map<string, LocatedVm>();
    for (const [name, entry] of Object.entries(record(vms)).slice(0, mostVms)) {
      const vm = name.length <= nameLength ? parseLocatedVm(name, entry) : undefined;
      if (vm !== undefined) known.set(name, vm);
    }
    scopes.set(key, {
      vms: known,
      owner: typeof owner === 'string' && owner.length <= 256 ? owner : undefined,
      listedAt: typeof listedAt === 'number' ? listedAt : undefined,
      allListedAt: typeof allListedAt === 'number' ? allListedAt : undefined,
      usedAt: typeof usedAt === 'number' ? usedAt : 0,
    });
  }
  return scopes;
}

function record(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : {};
}
