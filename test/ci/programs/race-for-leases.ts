/**
 * Orchestrators in a process of their own, by its own clock: for every project that a line on stdin names, each takes
 * the lease, and what came of it is a line on stdout.
 *
 *     race-for-leases.ts CONFIG-DIRECTORY HOW-MANY [TABLE]
 */
import { createInterface } from 'node:readline';
import { ownAws } from '../../../src/aws/own-credentials.ts';
import { DynamoLeases, FileLeases } from '../../../src/ci/lease-stores.ts';
import { type Lease, newLeaseId, takeLease, thisHolder } from '../../../src/ci/leases.ts';
import { resolvePaths } from '../../../src/platform/paths.ts';

const [configDir = '', count = '1', name] = process.argv.slice(2);
const aws = ownAws();
const caller = { environment: { ...(process.env as Record<string, string>) } };
const table =
  name === undefined
    ? undefined
    : { name, send: (call: Parameters<typeof aws.table>[1]) => aws.table(caller, call) };
const store = table === undefined ? new FileLeases(resolvePaths({ configDir })) : new DynamoLeases(table);

function lease(project: string): Lease {
  const now = Date.now();
  const place = {
    vm: 'build',
    host: '127.0.0.1',
    port: 22,
    user: 'root',
    destroy: { kind: 'command' as const },
    isToEnd: false,
  };
  return {
    id: newLeaseId(),
    project,
    ...place,
    holder: thisHolder(),
    startedAt: now,
    endsAt: now + 30 * 60_000,
  };
}

// What takes time the first time is over before the race.
await store.readAll();
process.stdout.write('ready\n');
for await (const project of createInterface(process.stdin)) {
  const tried = await Promise.all(
    Array.from({ length: Number(count) }, async () => {
      const own = lease(project);
      const held = await takeLease(store, own, Date.now());
      return { id: own.id, held: held?.id ?? null };
    }),
  );
  process.stdout.write(`${JSON.stringify({ project, tried })}\n`);
}
await aws.close();
