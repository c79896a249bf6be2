import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { AllFailed, type Contender, race } from '../../src/proxy/routes/happy-eyeballs.ts';

interface Runner {
  readonly contender: Contender<string>;
  readonly arrive: () => void;
  readonly fail: () => void;
  readonly started: Promise<AbortSignal>;
  isStarted: boolean;
}

/** A contender that the test controls. */
function runner(name: string, headStartMs: number): Runner {
  const outcome = Promise.withResolvers<string>();
  const started = Promise.withResolvers<AbortSignal>();
  outcome.promise.catch(() => {});
  const self: Runner = {
    isStarted: false,
    started: started.promise,
    arrive: () => outcome.resolve(name),
    fail: () => outcome.reject(new Error(name)),
    contender: {
      headStartMs,
      start(signal) {
        self.isStarted = true;
        started.resolve(signal);
        return outcome.promise;
      },
    },
  };
  return self;
}

/** A head start that no test waits for. */
const long = 60_000;

function discardNone(late: string): void {
  assert.fail(`${late} arrived late`);
}

test('the first contender has a head start, and wins alone within it', async () => {
  const [one, other] = [runner('one', 0), runner('other', long)];
  const winner = race([one.contender, other.contender], discardNone);
  await one.started;
  one.arrive();
  assert.equal(await winner, 'one');
  await sleep(0);
  assert.equal(other.isStarted, false);
});

test('the next starts after the head start and may win; the first is aborted', async () => {
  const [one, other] = [runner('one', 0), runner('other', 20)];
  const late: string[] = [];
  const winner = race([one.contender, other.contender], (result) => late.push(result));
  const signal = await one.started;
  await other.started;
  other.arrive();
  assert.equal(await winner, 'other');
  assert.equal(signal.aborted, true);
  one.arrive();
  await sleep(0);
  assert.deepEqual(late, ['one']);
});

test('the next starts at once if all running ones have failed', async () => {
  const [one, other, third] = [runner('one', 0), runner('other', long), runner('third', long)];
  const winner = race([one.contender, other.contender, third.contender], discardNone);
  one.fail();
  await other.started;
  other.fail();
  await third.started;
  third.arrive();
  assert.equal(await winner, 'third');
});

test('a failure of the second does not shorten the head start before the third', async () => {
  const [one, other, third] = [runner('one', 0), runner('other', 20), runner('third', long)];
  const winner = race([one.contender, other.contender, third.contender], discardNone);
  await other.started;
  other.fail();
  await sleep(50);
  assert.equal(third.isStarted, false);
  one.arrive();
  assert.equal(await winner, 'one');
});

test('the errors are reported in the order of the contenders', async () => {
  const [one, other] = [runner('one', 0), runner('other', 5)];
  const winner = race([one.contender, other.contender], discardNone);
  await other.started;
  other.fail();
  one.fail();
  await assert.rejects(winner, (error: AllFailed) => {
    assert.ok(error instanceof AllFailed);
    assert.deepEqual(
      error.failures.map((failure) => (failure as Error).message),
      ['one', 'other'],
    );
    return true;
  });
  await assert.rejects(race([], discardNone), AllFailed);
});
