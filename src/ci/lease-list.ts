/** What `debug list` shows. */
import { columns } from '../cli/columns.ts';
import type { OpenLease } from './lease.ts';

const head = ['ID', 'PROJECT', 'VM', 'STATE', 'ENDS', 'HOLDER'];

/** For a person; a store may hold anyone's words, and nothing in them acts on a terminal. @param now milliseconds since 1970 */
export function leaseTableText(leases: readonly OpenLease[], now: number): string {
  const rows = leases.map((lease) => {
    const { id, project, vm, endsAt, holder } = lease;
    return [id, project, vm, stateOf(lease, now), new Date(endsAt).toISOString(), holder];
  });
  return columns(head, rows);
}

/** For a program. */
export function leaseListJson(leases: readonly OpenLease[], now: number): string {
  const shown = leases.map((lease) => {
    const { id, project, vm, host, port, user, holder, startedAt, endsAt, destroy } = lease;
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
      instance: destroy.kind === 'command' ? null : destroy.instance,
      region: destroy.kind === 'command' ? null : destroy.region,
    };
  });
  return JSON.stringify(shown, undefined, 2);
}

function stateOf({ isToEnd, endingUntil, endsAt }: OpenLease, now: number): 'open' | 'ending' | 'overdue' {
  if ((endingUntil ?? 0) > now || (isToEnd && endsAt > now)) return 'ending';
  return endsAt > now ? 'open' : 'overdue';
}
