/**
 * Leases of debug access: who may be inside which VM, for which project, until when. A store keeps one record for each
 * project, and replaces it in one atomic step. The record has every lease of the project whose VM is not known to be
 * destroyed, so that nothing has to be written twice. Nothing in a lease is secret.
 *
 * The store decides who may open debug access, and tells the reaper what is overdue. To end a lease, the holder, the reaper
 * or `debug end` destroys the VM first, by calls that may be repeated, and then removes the lease.
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
  /** `user@machine, pid N`, for people. */
  readonly holder: string;
  /** Milliseconds since 1970. */
  readonly startedAt: number;
  /** When the VM is to be destroyed, in milliseconds since 1970. */
  readonly endsAt: number;
  readonly destroy: Destroy;
  /** `debug end` wants it to end now. */
  readonly isToEnd: boolean;
}

/**
 * How a VM is destroyed. A command is known to its holder alone: a reaper that took commands from a store would run what
 * anybody with access to the store has written.
 */
export type Destroy =
  | {
      readonly kind: 'terminate';
      readonly instance: string;
      readonly region: string;
      /** 12 digits: AWS accounts know nothing of each other's instances. */
      readonly account: string;
    }
  | { readonly kind: 'command' };

/** What a store has for one project. */
export interface ProjectLeases {
  readonly project: string;
  readonly leases: readonly Lease[];
  /** Entries that are not valid leases, unchanged. They are reported and kept. */
  readonly unreadable: readonly unknown[];
}

/** An atomic change of a project's record; `undefined` leaves it as it is. It may be called more than once. */
export type Change<T> = (found: ProjectLeases) => {
  readonly leases: readonly Lease[] | undefined;
  readonly result: T;
};

export interface LeaseStore {
  /** @throws MintError where the store does not answer, or has something else in place of the record */
  read(project: string): Promise<ProjectLeases>;
  /** @throws MintError likewise */
  update<T>(project: string, change: Change<T>): Promise<T>;
  /** The records of all projects; one that cannot be read has only `unreadable` entries. */
  readAll(): Promise<readonly ProjectLeases[]>;
}

/** How long destroying a VM may take, in milliseconds. */
export const destroyMs = 5 * 60_000;
/** How far the clocks of two machines may differ, in milliseconds. */
export const clockSkewMs = 2 * 60_000;
/** So many leases of one project are not destroyed: something is wrong with its reaper. */
const maxLeases = 100;

/** From this time on (milliseconds since 1970), another lease of the project may be taken. */
export function freeAt({ endsAt }: Lease): number {
  return endsAt + destroyMs + clockSkewMs;
}

/**
 * Takes the lease, unless another one of its project has not run out.
 *
 * @param now milliseconds since 1970
 * @returns the other lease, or undefined where the lease was taken
 * @throws MintError `io-failed` if the record cannot be read, because the project may then have a lease
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

/** Removes the lease, after its VM was destroyed or if no key was authorized. */
export function closeLease(store: LeaseStore, { id, project }: Lease): Promise<void> {
  return store.update<void>(project, ({ leases }) => ({
    leases: leases.some((lease) => lease.id === id) ? leases.filter((lease) => lease.id !== id) : undefined,
    result: undefined,
  }));
}

/** Asks the holder to end the lease now. */
export function requestEnd(store: LeaseStore, { id, project }: Lease): Promise<void> {
  return store.update<void>(project, ({ leases }) => ({
    leases: leases.map((lease) => (lease.id === id ? { ...lease, isToEnd: true } : lease)),
    result: undefined,
  }));
}

/** For a record, or a part of one, that is nothing of ours. */
export function unreadableLeases(project: string): MintError {
  return new MintError('io-failed', `a lease of ${project} cannot be read`, {
    hint: 'see that the VM it was for is destroyed, then remove the record: `mint-ssh debug list` names it',
  });
}

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

export function isProjectName(text: string): boolean {
  return projectPattern.test(text) && text === text.toLowerCase();
}

/** The text that a store keeps. */
export function formatLeases({ leases, unreadable }: Omit<ProjectLeases, 'project'>): string {
  return JSON.stringify({ version: 1, leases: [...leases, ...unreadable] });
}

/**
 * Reads what a store has for a project. Everybody with access to a table can write anything into it.
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
