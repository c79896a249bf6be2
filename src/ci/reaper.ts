/** `debug list`, `debug end` and `debug reap`: lists and ends leases from a process other than their holder. */
import { setTimeout as sleep } from 'node:timers/promises';
import { columns } from '../cli/columns.ts';
import { hint, printable, say } from '../cli/terminal.ts';
import { MintError } from '../errors.ts';
import type { Paths } from '../platform/paths.ts';
import { type Ending, endLease } from './destruction.ts';
import { clockSkewMs, type Lease, type LeaseStore, type ProjectLeases, requestEnd } from './leases.ts';

export interface ReaperOptions {
  readonly paths: Paths;
  readonly store: LeaseStore;
  readonly profile: string | undefined;
  /** For VMs that are destroyed by one. */
  readonly command: string | undefined;
}

/** For how long `debug end` waits for a holder that alone knows how the VM is destroyed, in milliseconds. */
const holderMs = 120_000;

/**
 * Ends one lease now. An instance is terminated from here, which its holder will notice; a VM that only its holder can
 * destroy is left to it.
 *
 * @throws MintError `debug-not-found`; why the VM is not destroyed
 */
export async function endNow(id: string, options: ReaperOptions): Promise<void> {
  const { store, command } = options;
  const records = await store.readAll();
  const lease = records.flatMap(({ leases }) => leases).find((each) => each.id === id);
  if (lease === undefined) throw notFound(id, records);
  const canDestroy = lease.destroy.kind === 'terminate' || command !== undefined;
  try {
    await requestEnd(store, lease);
  } catch (error) {
    // Without the store its holder cannot be told: the VM can be destroyed all the same.
    if (!canDestroy || !(error instanceof MintError)) throw error;
  }
  if (canDestroy) return await endLease(lease, endingOf(options, 'debug-ended', 'debug end'));
  for (const begun = performance.now(); performance.now() - begun < holderMs; await sleep(500)) {
    const { leases } = await store.read(lease.project);
    if (!leases.some((each) => each.id === id)) return;
  }
  throw new MintError('io-failed', `${lease.vm} is not destroyed yet by its holder (${lease.holder})`, {
    hint: "destroy it from here: mint-ssh debug end with --destroy command:'…'",
  });
}

/**
 * Destroys each VM whose time is over. What fails, or cannot be read, is told and skipped.
 *
 * @returns the leases that were ended, and the first failure
 * @throws MintError where the store does not answer
 */
export async function reapOverdue(
  options: ReaperOptions,
): Promise<{ readonly ended: readonly Lease[]; readonly failure: unknown }> {
  const ended: Lease[] = [];
  const records = await options.store.readAll();
  let failure: unknown = sayUnreadable(records);
  for (const lease of records.flatMap(({ leases }) => leases)) {
    // Another machine's clock has set the end, and its holder acts first.
    if (lease.endsAt + clockSkewMs > Date.now()) continue;
    try {
      await endLease(lease, endingOf(options, 'debug-reaped', 'debug reap'));
      ended.push(lease);
    } catch (error) {
      failure ??= error;
      const message = error instanceof Error ? error.message : String(error);
      say(`${lease.vm} (${lease.id}) is not destroyed: ${message}`);
    }
  }
  return { ended, failure };
}

/** @returns an error for them, where there are any */
export function sayUnreadable(records: readonly ProjectLeases[]): MintError | undefined {
  const found = records.flatMap(({ project, unreadable }) => unreadable.map((entry) => ({ project, entry })));
  for (const { project, entry } of found) {
    const text = typeof entry === 'string' ? entry : JSON.stringify(entry);
    say(`warning: a lease of ${project} cannot be read, and is skipped: ${printable(text.slice(0, 200))}`);
  }
  if (found.length === 0) return undefined;
  hint('see that the VM it was for is destroyed, then remove the record from the store');
  return new MintError('io-failed', `${found.length} unreadable ${found.length === 1 ? 'lease' : 'leases'}`);
}

function endingOf(
  { paths, store, profile, command }: ReaperOptions,
  event: Ending['event'],
  word: string,
): Ending {
  return { paths, store, profile, command, event, word, persistence: 'once' };
}

function notFound(id: string, records: readonly ProjectLeases[]): MintError {
  sayUnreadable(records);
  return new MintError('debug-not-found', `no lease ${id}: its VM is destroyed, or it is in another store`, {
    hint: '`mint-ssh debug list` shows the leases; --leases says where they are kept',
  });
}

/** For people. Nothing in a store may act on a terminal: every value was checked by its form. @param now milliseconds since 1970 */
export function leaseTable(leases: readonly Lease[], now: number): string {
  const rows = leases.map((lease) => {
    const { id, project, vm, endsAt, holder } = lease;
    return [id, project, vm, stateOf(lease, now), new Date(endsAt).toISOString(), holder];
  });
  return columns(['ID', 'PROJECT', 'VM', 'STATE', 'ENDS', 'HOLDER'], rows);
}

/** The value that `--json` prints. */
export function leaseJson(leases: readonly Lease[], now: number): string {
  const shown = leases.map((lease) => {
    const { id, project, vm, host, port, user, holder, startedAt, endsAt, destroy } = lease;
    const instance = destroy.kind === 'terminate' ? destroy : undefined;
    return {
      id,
      project,
      vm,
      host,
      port,
      user,
      state: stateOf(lease, now),
      holder,
      started_at: new Date(startedAt).toISOString(),
      ends_at: new Date(endsAt).toISOString(),
      destroy: destroy.kind,
      instance: instance?.instance ?? null,
      region: instance?.region ?? null,
      account: instance?.account ?? null,
    };
  });
  return JSON.stringify(shown, undefined, 2);
}

function stateOf({ isToEnd, endsAt }: Lease, now: number): 'open' | 'ending' | 'overdue' {
  if (endsAt <= now) return 'overdue';
  return isToEnd ? 'ending' : 'open';
}
