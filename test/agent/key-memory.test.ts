/** How long a key has been in memory, if one of the clocks is wrong. */
import assert from 'node:assert/strict';
import { performance } from 'node:perf_hooks';
import { type TestContext, test } from 'node:test';
import { startAge } from '../../src/agent/credentials/key-memory.ts';

/** Both clocks of this process, as milliseconds that the test sets. */
function clocks(context: TestContext) {
  const now = { wall: Date.UTC(2026, 0, 1), monotonic: 5_000 };
  context.mock.method(Date, 'now', () => now.wall);
  context.mock.method(performance, 'now', () => now.monotonic);
  return now;
}

test('the age continues while the machine sleeps and the monotonic clock stops', (context) => {
  const now = clocks(context);
  const age = startAge();
  assert.equal(age(), 0);
  now.wall += 3_600_000;
  now.monotonic += 1_000;
  assert.equal(age(), 3_600_000);
});

test('the age continues when the wall clock is set back', (context) => {
  const now = clocks(context);
  const age = startAge();
  now.wall -= 3_600_000;
  assert.equal(age(), 0);
  now.wall += 51_000;
  now.monotonic += 51_000;
  assert.equal(age(), 51_000);
});
