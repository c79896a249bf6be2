/**
 * Speed must not get lost unnoticed. Only ratios within one run count, the best of several rounds, with room for
 * a machine that does something else beside; a failure has to show three times. Each limit is about what a
 * doubling of today's figure comes to: docs/benchmarks.md has the figures themselves.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { World } from '../openssh/world.ts';
import { copy } from './copies.ts';
import { loginWorld, type Plan, warmLogins } from './logins.ts';
import { makeStage, type Stage } from './stage.ts';

const plan: Plan = { rounds: 4, pushRounds: 0, coldRounds: 0, roundTrips: [0], apiDelays: [] };
const attempts = 3;
const copyBytes = 128e6;

/** What mint-ssh adds to a login through socat, in starts of Node: one is its own. */
const loginLimit = 2.4;
/** Processor time of the proxy, in those of socat; throughput likewise. */
const processorLimit = 1.8;
const throughputLimit = 0.35;

describe('the speed guard', { timeout: 120_000 }, () => {
  let stage: Stage;
  let world: World;
  before(async () => {
    stage = await makeStage(plan.roundTrips);
    world = await loginWorld(stage, plan, []);
  });
  after(() => stage.end());

  test('a login with a warm key costs little more than a pipe and a start of Node', async (context) => {
    await holds(context, async () => {
      const { times, node } = await warmLogins(stage, world, plan, 0, [
        'ssh direct',
        'nc',
        'nc behind Node',
        'ControlMaster, open',
      ]);
      const least = (name: string) => Math.min(...(times[name] ?? []));
      const added = (least('mint-ssh, key warm') - least('socat nodelay')) / Math.min(...node);
      return { told: `${added.toFixed(2)} starts of Node`, good: added <= loginLimit };
    });
  });

  for (const direction of ['up', 'down'] as const) {
    test(`a copy ${direction} costs about as much as through socat`, async (context) => {
      await holds(context, async () => {
        const socat = await copy(stage, world, 'socat nodelay', direction, copyBytes);
        const mint = await copy(stage, world, 'mint-ssh', direction, copyBytes);
        const processor = mint.processor / socat.processor;
        const rate = mint.rate / socat.rate;
        const told = `${processor.toFixed(2)} of its processor time, ${rate.toFixed(2)} of its throughput`;
        return { told, good: processor <= processorLimit && rate >= throughputLimit };
      });
    });
  }
});

async function holds(
  context: { diagnostic(line: string): void },
  measure: () => Promise<{ told: string; good: boolean }>,
): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    const { told, good } = await measure();
    context.diagnostic(told);
    if (good) return;
    assert.ok(attempt < attempts, told);
  }
}
