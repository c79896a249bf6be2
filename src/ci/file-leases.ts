/**
 * Leases as files, for one machine: `leases/projects/` says who has a project, `leases/open/` has every lease
 * whose VM is not known to be destroyed. One lock is held for each step.
 */
import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { MintError } from '../errors.ts';
import { ensureClosedDirectory, ioFailed, quoted, readPrivateFile, writeAtomic } from '../platform/files.ts';
import { withLock } from '../platform/lock.ts';
import type { Paths } from '../platform/paths.ts';
import { type Holding, holdingOf, type Lease, type OpenLease, parseLease } from './lease.ts';
import type { LeaseStore } from './lease-store.ts';

const maxBytes = 16_384;
const lockMilliseconds = 10_000;
/** Leases on one machine: more are not a queue but a fault. */
const mostLeases = 10_000;

export class FileLeases implements LeaseStore {
  readonly #directory: string;
  readonly #projects: string;
  readonly #open: string;

  constructor(paths: Paths) {
    this.#directory = join(paths.dir, 'leases');
    this.#projects = join(this.#directory, 'projects');
    this.#open = join(this.#directory, 'open');
  }

  async take(lease: Lease, now: number): Promise<Holding | undefined> {
    return this.#locked(() => {
      const path = this.#projectFile(lease.project);
      const held = read(path, parseHolding);
      if (held !== undefined && held.id !== lease.id && held.freeAt > now) return held;
      write(path, holdingOf(lease));
      write(this.#leaseFile(lease.id), { ...lease });
      return undefined;
    });
  }

  async list(): Promise<readonly OpenLease[]> {
    return this.#locked(() =>
      readdirSync(this.#open)
        .filter((name) => /^[0-9a-f]{12}\.json$/.test(name))
        .slice(0, mostLeases)
        .flatMap((name) => read(join(this.#open, name), parseOpenLease) ?? []),
    );
  }

  async find(id: string): Promise<OpenLease | undefined> {
    return this.#locked(() => read(this.#leaseFile(id), parseOpenLease));
  }

  async askToEnd(id: string): Promise<boolean> {
    return this.#locked(() => this.#change(id, () => ({ isToEnd: true })));
  }

  async beginEnd(id: string, by: string, now: number, until: number): Promise<boolean> {
    return this.#locked(() =>
      this.#change(id, ({ endingUntil = 0, endingBy }) =>
        endingUntil > now && endingBy !== by ? undefined : { endingUntil: until, endingBy: by },
      ),
    );
  }

  async close({ id, project }: Pick<Lease, 'id' | 'project'>): Promise<void> {
    this.#locked(() => {
      const path = this.#projectFile(project);
      // Its time may have come meanwhile, and the project be another one's.
      if (read(path, parseHolding)?.id === id) remove(path);
      remove(this.#leaseFile(id));
    });
  }

  #change(id: string, change: (kept: Kept) => Partial<Kept> | undefined): boolean {
    const path = this.#leaseFile(id);
    const kept = read(path, parseOpenLease);
    const changed = kept && change(kept);
    if (changed === undefined) return false;
    write(path, { ...kept, ...changed });
    return true;
  }

  #locked<T>(action: () => T): T {
    for (const directory of [this.#directory, this.#projects, this.#open]) ensureClosedDirectory(directory);
    return withLock(join(this.#directory, '.lock'), lockMilliseconds, action);
  }

  #projectFile(project: string): string {
    return join(this.#projects, `${project}.json`);
  }

  #leaseFile(id: string): string {
    return join(this.#open, `${id}.json`);
  }
}

type Kept = OpenLease & { readonly endingBy?: string | undefined };

/** Undefined where there is no such file. What is there and cannot be read is held by someone. */
function read<T>(path: string, parse: (value: unknown) => T | undefined): T | undefined {
  const bytes = readPrivateFile(path, { maxBytes });
  if (bytes === undefined) return undefined;
  const value = parse(json(bytes));
  if (value !== undefined) return value;
  throw new MintError('io-failed', `${quoted(path)} is damaged`, {
    hint: 'see that the VM it was for is destroyed, then remove the file',
  });
}

function json(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'));
  } catch {
    return undefined;
  }
}

function parseHolding(value: unknown): Holding | undefined {
  const { id, holder, endsAt, freeAt } = Object(value) as Record<string, unknown>;
  if (typeof id !== 'string' || typeof holder !== 'string') return undefined;
  if (typeof endsAt !== 'number' || typeof freeAt !== 'number') return undefined;
  return { id, holder, endsAt, freeAt };
}

function parseOpenLease(value: unknown): Kept | undefined {
  const lease = parseLease(value);
  if (lease === undefined) return undefined;
  const { isToEnd, endingUntil, endingBy } = value as Record<string, unknown>;
  return {
    ...lease,
    isToEnd: isToEnd === true,
    endingUntil: typeof endingUntil === 'number' ? endingUntil : undefined,
    endingBy: typeof endingBy === 'string' ? endingBy : undefined,
  };
}

function write(path: string, value: object): void {
  writeAtomic(path, `${JSON.stringify(value)}\n`, { mode: 0o600 });
}

function remove(path: string): void {
  try {
    rmSync(path, { force: true });
  } catch (error) {
    throw ioFailed('remove', path, error);
  }
}
