/** `mint-ssh debug end` and `reap`: the end of a lease by someone else than its holder. */
import { setTimeout as sleep } from 'node:timers/promises';
import { parseDestruction } from '../ci/destruction.ts';
import { endLease } from '../ci/ending.ts';
import { clockSkew, type OpenLease } from '../ci/lease.ts';
import { leaseListJson } from '../ci/lease-list.ts';
import { leaseId } from '../ci/project.ts';
import type { Invocation } from '../cli/command.ts';
import { print, say } from '../cli/terminal.ts';
import { MintError } from '../errors.ts';
import { elsewhere } from '../vms/list-vms.ts';
import { type DebugWords, debugMisused, withStore } from './debug-request.ts';

/** For how long a holder that lives may take to notice that its lease is to end, in milliseconds. */
const noticeTime = 15_000;
/** For how long `end` waits until the VM is destroyed, in milliseconds. */
const endTime = 120_000;

/** The holder destroys it, where there still is one; else it is done here. */
export async function end({ paths, settings, words, values }: DebugWords): Promise<number> {
  const [given, ...more] = words;
  if (given === undefined || more.length > 0) throw debugMisused('which one? debug end ID');
  const id = leaseId(given);
  const command = commandOf(values);
  await withStore({ paths, values, at: elsewhere(settings) }, async ({ store }, access) => {
    if (!(await store.askToEnd(id))) throw notThere(id);
    const asked = performance.now();
    for (;;) {
      const lease = await store.find(id);
      if (lease === undefined) return;
      const waited = performance.now() - asked;
      const isBeingEnded = (lease.endingUntil ?? 0) > Date.now();
      if (!isBeingEnded && waited > noticeTime) {
        say(`its holder does not answer (${lease.holder}): the VM is destroyed from here`);
        const ending = {
          paths,
          store,
          access,
          command,
          event: 'debug-ended',
          word: 'debug end',
          patience: 0,
        } as const;
        if (await endLease(lease, ending)) return;
      }
      if (waited > endTime) throw slow(lease);
      await sleep(500);
    }
  });
  say('ended: the VM is destroyed');
  return 0;
}

/** Each VM whose time is over; what fails is said, and thrown when the others are done. */
export async function reap({ paths, settings, words, values }: DebugWords): Promise<number> {
  if (words.length > 0) throw debugMisused('reap takes no name');
  const command = commandOf(values);
  const reaped: OpenLease[] = [];
  const failures: unknown[] = [];
  await withStore({ paths, values, at: elsewhere(settings) }, async ({ store }, access) => {
    for (const lease of await store.list()) {
      // Another machine's clock set this time; its holder is the first to act on it.
      if (lease.endsAt + clockSkew > Date.now()) continue;
      const ending = {
        paths,
        store,
        access,
        command,
        event: 'debug-reaped',
        word: 'debug reap',
        patience: 0,
      } as const;
      try {
        if (await endLease(lease, ending)) reaped.push(lease);
      } catch (error) {
        failures.push(error);
        say(
          `${lease.vm} (${lease.id}) is not destroyed: ${error instanceof Error ? error.message : String(error)}`,
        );
      }
    }
  });
  if (values['json'] === true) print(leaseListJson(reaped, Date.now()));
  else for (const { vm, id, holder } of reaped) say(`${vm} (${id}) destroyed; its holder was ${holder}`);
  if (failures.length > 0) throw failures[0];
  return 0;
}

/** For a lease whose command only its holder knew. */
function commandOf(values: Invocation['values']): string | undefined {
  const given = values['destroy'] as string | undefined;
  if (given === undefined) return undefined;
  const { kind, command: words } = parseDestruction(given, undefined);
  if (kind === 'command') return words;
  throw debugMisused(
    "the lease says whether an instance is terminated or stopped; --destroy command:'…' is for the others",
  );
}

function notThere(id: string): MintError {
  return new MintError('debug-not-found', `there is no lease ${id}, or its VM is destroyed already`, {
    hint: '`mint-ssh debug list` shows the ones there are; --leases says where they are kept',
  });
}

function slow({ vm, holder }: OpenLease): MintError {
  return new MintError('io-failed', `${vm} is not destroyed yet by ${holder}`, {
    hint: '`mint-ssh debug list` shows when it is; `mint-ssh debug reap` destroys what stays behind',
  });
}
