/** Twenty orchestrators request one project at the same time, in several processes whose clocks differ by a minute. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { DynamoLeases, FileLeases, type LeaseTable } from '../../src/ci/lease-stores.ts';
import { type Lease, type LeaseStore, newLeaseId, takeLease } from '../../src/ci/leases.ts';
import { resolvePaths } from '../../src/platform/paths.ts';
import { type Child, startChild } from '../openssh/child.ts';
import { libfaketime } from '../programs.ts';

export interface Race {
  readonly configDir: string;
  readonly rounds: number;
  /** The same store, as this process and as the others reach it; files where absent. */
  readonly table?: LeaseTable;
  readonly environment?: Readonly<Record<string, string>>;
  /** How many processes, and how many orchestrators in each. */
  readonly processes: number;
  readonly each: number;
}

interface Told {
  readonly project: string;
  readonly tried: readonly { readonly id: string; readonly held: string | null }[];
}

/** Seconds by which the clocks differ from this process's: at most a minute from one to another. */
const clocks = [0, 30, -30, 0, 15];

const program = join(import.meta.dirname, 'programs', 'race-for-leases.ts');

/**
 * In turn: a free project, one whose holder died and is past its time, and one whose holder died and whose time to destroy
 * is not over. One orchestrator, one, and none must get it. @returns the number of rounds of each
 */
export async function race({
  configDir,
  rounds,
  table,
  environment = {},
  processes,
  each,
}: Race): Promise<number[]> {
  const store = table === undefined ? new FileLeases(resolvePaths({ configDir })) : new DynamoLeases(table);
  const racers = Array.from({ length: processes }, (_, at) => {
    const clock = clocks[at % clocks.length] ?? 0;
    const fake = clock === 0 ? {} : { LD_PRELOAD: libfaketime, FAKETIME: `${clock > 0 ? '+' : ''}${clock}s` };
    const args = [program, configDir, String(each), ...(table === undefined ? [] : [table.name])];
    const own = { PATH: process.env['PATH'] ?? '', HOME: configDir, ...environment, ...fake };
    return startChild(process.execPath, args, own, { holdInput: true, timeout: 600_000 });
  });
  const counts = [0, 0, 0];
  try {
    await Promise.all(racers.map((racer) => racer.until(/^ready$/m, 60_000)));
    for (let round = 0; round < rounds; round += 1) {
      const kind = round % 3;
      const project = `p-${process.pid}-${round}`;
      if (kind === 1) await hold(store, project, -8 * 60_000);
      if (kind === 2) await hold(store, project, -5 * 60_000);
      for (const racer of racers) racer.stdin.write(`${project}\n`);
      const told = await Promise.all(racers.map((racer) => answer(racer, project)));
      check(
        kind,
        told.flatMap(({ tried }) => tried),
      );
      counts[kind] = (counts[kind] ?? 0) + 1;
    }
    for (const racer of racers) racer.stdin.end();
    for (const racer of racers) assert.equal((await racer.done).status, 0, racer.stderr);
  } finally {
    for (const racer of racers) racer.kill('SIGKILL');
  }
  return counts;
}

function check(kind: number, tried: Told['tried']): void {
  const winners = tried.filter(({ held }) => held === null);
  assert.equal(winners.length, kind === 2 ? 0 : 1, `${winners.length} of ${tried.length} have it`);
  const [winner] = winners;
  if (winner === undefined) return;
  // All others get the name of the holder.
  for (const { held } of tried)
    assert.ok(held === null || held === winner.id, `${held} has it and ${winner.id} as well`);
}

/** The lease of a holder that died: its time was over so many milliseconds from now (less than 0: ago). */
async function hold(store: LeaseStore, project: string, end: number): Promise<void> {
  const now = Date.now();
  const place = {
    vm: 'build',
    host: '127.0.0.1',
    port: 22,
    user: 'root',
    holder: 'dead',
    destroy: { kind: 'command' as const },
    isToEnd: false,
  };
  const lease: Lease = { id: newLeaseId(), project, ...place, startedAt: now + end - 1, endsAt: now + end };
  assert.equal(await takeLease(store, lease, now), undefined);
}

async function answer(racer: Child, project: string): Promise<Told> {
  const [line] = await racer.until(new RegExp(`^\\{"project":"${project}".*\\}$`, 'm'), 60_000);
  return JSON.parse(line) as Told;
}
