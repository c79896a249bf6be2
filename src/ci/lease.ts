/** A lease: who may be inside which VM, for which project, and until when. Nothing in it is secret. */
import { randomBytes } from 'node:crypto';
import { hostname, userInfo } from 'node:os';

export interface Lease {
  /** 12 hexadecimal digits. */
  readonly id: string;
  readonly project: string;
  readonly vm: string;
  readonly host: string;
  readonly port: number;
  readonly user: string;
  /** `user@machine, pid N`: for people. */
  readonly holder: string;
  /** Milliseconds since 1970. */
  readonly startedAt: number;
  /** When the VM is to be destroyed, in milliseconds since 1970. */
  readonly endsAt: number;
  readonly destroy: Destroy;
}

/**
 * How a VM is destroyed. The words of a command are the holder's own and stay there: a reaper that took them from a
 * store would run whatever someone else has written into it.
 */
export type Destroy =
  | {
      readonly kind: 'terminate' | 'stop';
      readonly instance: string;
      readonly region: string;
    }
  | { readonly kind: 'command' };

/** A lease whose VM is not known to be destroyed, as a store gives it. */
export interface OpenLease extends Lease {
  /** Someone wants it to end now. */
  readonly isToEnd: boolean;
  /** Someone is destroying the VM, and has until then (milliseconds since 1970). */
  readonly endingUntil: number | undefined;
}

/** Who has a project's lease. */
export interface Holding {
  readonly id: string;
  readonly holder: string;
  readonly endsAt: number;
  /** Milliseconds since 1970: from then on, the project may be taken by another. */
  readonly freeAt: number;
}

/** What destroying a VM may take, in milliseconds. */
export const destroyTime = 5 * 60_000;
/** How far the clocks of two orchestrators may be apart, in milliseconds. */
export const clockSkew = 2 * 60_000;

export function holdingOf({ id, holder, endsAt }: Lease): Holding {
  return { id, holder, endsAt, freeAt: endsAt + destroyTime + clockSkew };
}

export function newLeaseId(): string {
  return randomBytes(6).toString('hex');
}

export function thisHolder(): string {
  return `${userInfo().username}@${hostname()}, pid ${process.pid}`;
}

/** Reads what a store kept; undefined for what is no lease. Whoever can write to a table can write anything. */
export function parseLease(value: unknown): Lease | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const { id, project, vm, host, port, user, holder, startedAt, endsAt, destroy } = value as Record<
    string,
    unknown
  >;
  const isTime = (time: unknown) => Number.isSafeInteger(time) && Number(time) > 0;
  if (!matches(id, /^[0-9a-f]{12}$/) || !matches(project, /^[a-z0-9][a-z0-9._-]{0,62}$/)) return undefined;
  if (!matches(vm, /^[a-z0-9][a-z0-9._-]{0,62}$/) || !matches(host, /^[A-Za-z0-9_.:%-]{1,253}$/))
    return undefined;
  if (!matches(user, /^[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,31}$/) || !matches(holder, /^[^\p{C}]{1,200}$/u))
    return undefined;
  if (!Number.isInteger(port) || Number(port) < 1 || Number(port) > 65_535) return undefined;
  if (!isTime(startedAt) || !isTime(endsAt)) return undefined;
  const how = parseDestroy(destroy);
  if (how === undefined) return undefined;
  return { id, project, vm, host, port, user, holder, startedAt, endsAt, destroy: how } as Lease;
}

function parseDestroy(value: unknown): Destroy | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const { kind, instance, region } = value as Record<string, unknown>;
  if (kind === 'command') return { kind };
  if (kind !== 'terminate' && kind !== 'stop') return undefined;
  if (!matches(instance, /^i-[0-9a-f]{8,17}$/) || !matches(region, /^[a-z]{2}(?:-[a-z]+)+-\d+$/))
    return undefined;
  return { kind, instance, region } as Destroy;
}

function matches(value: unknown, pattern: RegExp): value is string {
  return typeof value === 'string' && pattern.test(value);
}
