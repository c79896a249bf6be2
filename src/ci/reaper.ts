/** `debug list`, `debug end` and `debug reap`: lists and ends leases from a process other than their holder. */
import { setTimeout as sleep } from 'node:timers/promises';
import { columns, outputWidth } from '../cli/columns.ts';
import { hint, printable, say } from '../cli/terminal.ts';
import { isoTime, shownTime } from '../cli/time.ts';
import { MintError } from '../errors.ts';
import type { Paths } from '../platform/paths.ts';
import { type Ending, endLease } from './destruction.ts';
import { clockSkewMs, type Lease, type LeaseStore, type ProjectLeases, requestEnd } from './leases.ts';

export interface ReaperOptions {
  readonly paths: Paths;
  readonly store: LeaseStore;
  readonly profile: string | undefined;
  /** The command for leases that are destroyed by a command. */
  readonly command: string | undefined;
}

/** How long `debug end` waits for the holder if only that has the command that destroys the VM, in milliseconds. */
const holderMs = 120_000;

/** How long a lease stays for its holder, which reads it every 3 s, to see that `debug end` has ended it, in milliseconds. */
const noticeMs = 10_000;

/**
 * Ends one lease now. It terminates an instance itself, which the holder notices. If only the holder has the command that
 * destroys the VM, it waits for the holder; if that command was given here, for the holder to notice the request.
 *
 * @throws MintError `debug-not-found`, `io-failed`, `aws-…`
 */
export async function endNow(id: string, options: ReaperOptions): Promise<void> {
  const { store, command } = options;
  const records = await store.readAll();
  const lease = records.flatMap(({ leases }) => leases).find((each) => each.id === id);
  if (lease === undefined) throw notFound(id, records);
  const canDestroy = lease.destroy.kind === 'terminate' || command !== undefined;
  let isRequested = true;
  try {
    await requestEnd(store, lease);
  } catch (error) {
    // If the store is unavailable, the holder cannot be notified, but the VM can still be destroyed.
    if (!canDestroy || !(error instanceof MintError)) throw error;
    isRequested = false;
  }
  const begun = performance.now();
  if (canDestroy) {
    const ending = endingOf(options, 'debug-ended', 'debug end');
    const isNoticed = !isRequested || lease.destroy.kind === 'terminate';
    const beforeClosing = async () => {
      // The VM is destroyed by now, so a store that cannot be read does not keep the lease from being closed.
      if (!isNoticed) await isClosed(store, lease, begun + noticeMs).catch(() => {});
    };
    return await endLease(lease, { ...ending, beforeClosing });
  }
  if (await isClosed(store, lease, begun + holderMs)) return;
  throw new MintError('io-failed', `the holder (${lease.holder}) has not destroyed ${lease.vm} yet`, {
    hint: "destroy it from here: mint-ssh debug end with --destroy command:'…'",
  });
}

/**
 * Waits for the holder to remove the lease.
 * @param deadline by `performance.now`
 * @returns whether it has done so
 */
async function isClosed(store: LeaseStore, { id, project }: Lease, deadline: number): Promise<boolean> {
  for (; performance.now() < deadline; await sleep(500)) {
    const { leases } = await store.read(project);
    if (!leases.some((each) => each.id === id)) return true;
  }
  return false;
}

/**
 * Destroys each VM whose time is over. Failures and invalid leases are printed and skipped.
 *
 * @returns the ended leases, and the first failure
 * @throws MintError `io-failed`, `aws-…` if the store is unavailable
 */
export async function reapOverdue(
  options: ReaperOptions,
): Promise<{ readonly ended: readonly Lease[]; readonly failure: unknown }> {
  const ended: Lease[] = [];
  const records = await options.store.readAll();
  let failure: unknown = sayUnreadable(records);
  for (const lease of records.flatMap(({ leases }) => leases)) {
    // The clock of another machine set the end, and the holder acts first.
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

/** @returns an error if there are invalid leases */
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
    hint: '`mint-ssh debug list` shows the leases; --leases selects the store',
  });
}

/**
 * The forms of all values were checked, so none can control a terminal.
 *
 * @param now milliseconds since 1970
 * @returns a table for the terminal
 */
export function leaseTable(leases: readonly Lease[], now: number): string {
  const rows = leases.map((lease) => {
    const { id, project, vm, endsAt, holder } = lease;
    return [id, project, vm, stateOf(lease, now), shownTime(endsAt), holder];
  });
  return columns(['ID', 'PROJECT', 'VM', 'STATE', 'ENDS', 'HOLDER'], rows, {
    maxWidth: outputWidth(),
    optional: [5],
    cut: 2,
  });
}

/** @returns the rows of `--json` */
export function leaseJson(leases: readonly Lease[], now: number): Record<string, unknown>[] {
  return leases.map((lease) => {
    const { id, project, vm, host, port, user, holder, startedAt, endsAt, destroy } = lease;
    const instance = destroy.kind === 'terminate' ? destroy : undefined;
    return {
      lease: id,
      project,
      vm,
      host,
      port,
      user,
      state: stateOf(lease, now),
      holder,
      started_at: isoTime(startedAt),
      ends_at: isoTime(endsAt),
      destroy: destroy.kind,
      instance: instance?.instance ?? null,
      region: instance?.region ?? null,
      account: instance?.account ?? null,
    };
  });
}

function stateOf({ isToEnd, endsAt }: Lease, now: number): 'open' | 'ending' | 'overdue' {
  if (endsAt <= now) return 'overdue';
  return isToEnd ? 'ending' : 'open';
}
