/**
 * Leases of debug access: for which project a VM is open, and until when. A store has one record for each project, and
 * replaces it atomically. The record has all leases of the project whose VM may still exist. Leases contain no secrets.
 *
 * The store decides which holder may open debug access, and tells the reaper which leases are overdue. To end a lease,
 * the holder, the reaper or `debug end` first destroys the VM, with calls that may be repeated, and then removes the lease.
 */

import { randomBytes } from 'node:crypto';
import { hostname, userInfo } from 'node:os';
import { printable } from '../cli/terminal.ts';
import { MintError } from '../errors.ts';
import { isRegion } from '../settings/region.ts';
import { instancePattern } from '../settings/vm-name.ts';

export interface Lease {
  /** 12 hexadecimal digits. */
  readonly id: string;
  readonly project: string;
  readonly vm: string;
  readonly host: string;
  readonly port: number;
  readonly user: string;
  /** `user@machine, pid N`, for messages. */
  readonly holder: string;
  /** Milliseconds since 1970. */
  readonly startedAt: number;
  /** When the VM will be destroyed, in milliseconds since 1970. */
  readonly endsAt: number;
  readonly destroy: Destroy;
  /** Whether `debug end` has requested the end. */
  readonly isToEnd: boolean;
}

/**
 * How a VM is destroyed. Only the holder has the command: a reaper that read commands from a store would run what anyone
 * with access to the store has written.
 */
export type Destroy =
  | {
      readonly kind: 'terminate';
      readonly instance: string;
      readonly region: string;
      /** 12 digits. An account cannot see the instances of another one. */
      readonly account: string;
    }
  | { readonly kind: 'command' };

/** The record of one project. */
export interface ProjectLeases {
  readonly project: string;
  readonly leases: readonly Lease[];
  /** Entries that are not valid leases, unchanged. They are reported and kept. */
  readonly unreadable: readonly unknown[];
}

/** An atomic change of a project's record. `leases: undefined` leaves it unchanged. It may be called more than once. */
export type Change<T> = (found: ProjectLeases) => {
  readonly leases: readonly Lease[] | undefined;
  readonly result: T;
};

export interface LeaseStore {
  /** @throws MintError `io-failed` or `aws-…` if the store is unavailable or the record is invalid */
  read(project: string): Promise<ProjectLeases>;
  /** @throws MintError `io-failed` or `aws-…` if the store is unavailable or the record is invalid */
  update<T>(project: string, change: Change<T>): Promise<T>;
  /** @returns the records of all projects; an invalid one has only `unreadable` entries */
  readAll(): Promise<readonly ProjectLeases[]>;
}

/** The time allowed for destroying a VM, in milliseconds. */
export const destroyMs = 5 * 60_000;
/** The allowed difference between the clocks of two machines, in milliseconds. */
export const clockSkewMs = 2 * 60_000;
/** The maximum number of leases of one project. If it is reached, its reaper does not work. */
const maxLeases = 100;

/** @returns when another lease of the project may be taken, in milliseconds since 1970 */
export function freeAt({ endsAt }: Lease): number {
  return endsAt + destroyMs + clockSkewMs;
}

/**
 * Takes the lease, unless the project has another one that has not expired.
 *
 * @param now milliseconds since 1970
 * @returns the other lease; undefined if the lease was taken
 * @throws MintError `io-failed` if the record cannot be read, because the project might have a lease; `aws-…`
 */
export function takeLease(store: LeaseStore, lease: Lease, now: number): Promise<Lease | undefined> {
  return store.update<Lease | undefined>(lease.project, ({ project, leases, unreadable }) => {
    if (unreadable.length > 0) throw unreadableLeases(project);
    const others = leases.filter(({ id }) => id !== lease.id);
    const current = others.find((other) => freeAt(other) > now);
    if (current !== undefined) return { leases: undefined, result: current };
    if (others.length >= maxLeases) {
      throw new MintError('io-failed', `${others.length} leases of ${project} are overdue`, {
        hint: 'destroy their VMs first: mint-ssh debug reap',
      });
    }
    return { leases: [...others, lease], result: undefined };
  });
}

/** Removes the lease, after its VM was destroyed, or if no key was authorized. */
export function closeLease(store: LeaseStore, { id, project }: Lease): Promise<void> {
  return store.update<void>(project, ({ leases }) => ({
    leases: leases.some((lease) => lease.id === id) ? leases.filter((lease) => lease.id !== id) : undefined,
    result: undefined,
  }));
}

/** Requests that the holder end the lease now. */
export function requestEnd(store: LeaseStore, { id, project }: Lease): Promise<void> {
  return store.update<void>(project, ({ leases }) => ({
    leases: leases.map((lease) => (lease.id === id ? { ...lease, isToEnd: true } : lease)),
    result: undefined,
  }));
}

/** @returns the error for a record that is invalid, or has invalid entries */
export function unreadableLeases(project: string): MintError {
  return new MintError('io-failed', `a lease of ${project} cannot be read`, {
    hint: 'make sure that its VM is destroyed, then remove the record: `mint-ssh debug list` names it',
  });
}

/** @returns a random lease ID: 12 hexadecimal digits */
export function newLeaseId(): string {
  return randomBytes(6).toString('hex');
}

/** @throws MintError `usage` */
export function parseLeaseId(text: string): string {
  if (/^[0-9a-f]{12}$/.test(text)) return text;
  throw new MintError('usage', `"${printable(text.slice(0, 40))}" is not a lease ID`, {
    hint: '`mint-ssh debug list` shows the IDs',
  });
}

/** @returns this process for people: `user@host, pid N` */
export function thisHolder(): string {
  return `${userInfo().username}@${hostname()}, pid ${process.pid}`;
}

const projectPattern = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/;

/**
 * Checks a project's name. The result is in lower case, and safe as a file name, as a table's key and in a build log.
 *
 * @throws MintError `usage`
 */
export function projectName(text: string): string {
  if (projectPattern.test(text)) return text.toLowerCase();
  throw new MintError('usage', `"${printable(text.slice(0, 40))}" is not a project name`, {
    hint: 'it has 1 to 63 letters, digits, dots, underscores and hyphens, and starts with a letter or a digit',
  });
}

/** Whether a text has the form that `projectName` returns. */
export function isProjectName(text: string): boolean {
  return projectPattern.test(text) && text === text.toLowerCase();
}

/** @returns a project's record as text, for a store */
export function formatLeases({ leases, unreadable }: Omit<ProjectLeases, 'project'>): string {
  return JSON.stringify({ version: 1, leases: [...leases, ...unreadable] });
}

/**
 * Parses a project's record. Anyone with access to a table can write anything into it.
 *
 * @returns undefined if it is not a valid record
 */
export function parseLeases(project: string, text: string): ProjectLeases | undefined {
  let record: unknown;
  try {
    record = JSON.parse(text);
  } catch {
    return undefined;
  }
  const { version, leases: entries } = Object(record) as Record<string, unknown>;
  if (version !== 1 || !Array.isArray(entries)) return undefined;
  const leases: Lease[] = [];
  const unreadable: unknown[] = [];
  for (const entry of entries as readonly unknown[]) {
    const lease = parseLease(entry);
    if (lease?.project === project) leases.push(lease);
    else unreadable.push(entry);
  }
  return { project, leases, unreadable };
}

function parseLease(value: unknown): Lease | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const fields = value as Record<string, unknown>;
  const text = (field: string, form: RegExp) => textOf(fields[field], form);
  const time = (field: string) => {
    const number = Number(fields[field]);
    return Number.isSafeInteger(fields[field]) && number > 0 ? number : undefined;
  };
  const lease = {
    id: text('id', /^[0-9a-f]{12}$/),
    project: text('project', /^[a-z0-9][a-z0-9._-]{0,62}$/),
    vm: text('vm', /^[a-z0-9][a-z0-9._-]{0,62}$/),
    host: text('host', /^[A-Za-z0-9_.:%-]{1,253}$/),
    port: time('port'),
    user: text('user', /^[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,31}$/),
    holder: text('holder', /^[^\p{C}]{1,200}$/u),
    startedAt: time('startedAt'),
    endsAt: time('endsAt'),
    destroy: parseDestroy(fields['destroy']),
  };
  if (Object.values(lease).includes(undefined) || (lease.port ?? 0) > 65_535) return undefined;
  return { ...(lease as Omit<Lease, 'isToEnd'>), isToEnd: fields['isToEnd'] === true };
}

function parseDestroy(value: unknown): Destroy | undefined {
  const { kind, instance, region, account } = Object(value) as Record<string, unknown>;
  if (kind === 'command') return { kind };
  if (kind !== 'terminate') return undefined;
  const id = textOf(instance, instancePattern);
  const owner = textOf(account, /^\d{12}$/);
  if (id === undefined || owner === undefined || typeof region !== 'string' || !isRegion(region))
    return undefined;
  return { kind, instance: id, region, account: owner };
}

function textOf(value: unknown, form: RegExp): string | undefined {
  return typeof value === 'string' && form.test(value) ? value : undefined;
}
