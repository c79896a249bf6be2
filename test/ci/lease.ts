/** A valid lease, for the tests. */
import { type Lease, newLeaseId } from '../../src/ci/leases.ts';

export const minute = 60_000;
export const noon = Date.UTC(2026, 0, 1, 12);

export function lease(project: string, changes: Partial<Lease> = {}): Lease {
  const at = { vm: 'build', host: '203.0.113.7', port: 22, user: 'ubuntu', holder: 'anna@ci, pid 1' };
  const instance = { instance: 'i-0123456789abcdef0', region: 'us-east-1', account: '111122223333' };
  return {
    id: newLeaseId(),
    project,
    ...at,
    startedAt: noon,
    endsAt: noon + 30 * minute,
    destroy: { kind: 'terminate', ...instance },
    isToEnd: false,
    ...changes,
  };
}
