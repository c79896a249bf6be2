import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, readdirSync, statSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { acquireLock, withLock } from '../../src/platform/lock.ts';
import { ownDirectory, refusal } from './directory.ts';

const lockModule = join(import.meta.dirname, '../../src/platform/lock.ts');

/** Another process that holds the lock until it is killed. */
async function holder(context: TestContext, path: string): Promise<ChildProcess> {
  const script = `
    import { acquireLock } from ${JSON.stringify(lockModule)};
    globalThis.lock = acquireLock(${JSON.stringify(path)}, { waitMilliseconds: 5000 });
    console.log(globalThis.lock === undefined ? 'busy' : 'held');
    setInterval(() => {}, 1000);
  `;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  context.after(() => child.kill('SIGKILL'));
  const [said] = await once(child.stdout, 'data');
  assert.equal(String(said).trim(), 'held');
  return child;
}

test('only one holder has a lock, and the next gets it after its release', (context) => {
  const path = join(ownDirectory(context), 'lock');
  const first = acquireLock(path, { waitMilliseconds: 0 });
  assert.ok(first);
  assert.equal(acquireLock(path, { waitMilliseconds: 0 }), undefined);
  first.release();
  first.release();
  const second = acquireLock(path, { waitMilliseconds: 0 });
  assert.ok(second);
  second.release();
});

test('another process keeps the lock until it ends in any way', async (context) => {
  const path = join(ownDirectory(context), 'lock');
  const child = await holder(context, path);
  const started = performance.now();
  assert.equal(acquireLock(path, { waitMilliseconds: 150 }), undefined);
  assert.ok(performance.now() - started >= 140);
  assert.throws(() => withLock(path, 0, () => assert.fail('ran')), refusal('io-failed', /held by another/));
  child.kill('SIGKILL');
  await once(child, 'exit');
  assert.equal(
    withLock(path, 5000, () => 'mine'),
    'mine',
  );
});

test('checking a lock that this process holds does not release it', async (context) => {
  const path = join(ownDirectory(context), 'lock');
  const lock = acquireLock(path, { waitMilliseconds: 0 });
  acquireLock(path, { waitMilliseconds: 0 });
  const script = `
    import { acquireLock } from ${JSON.stringify(lockModule)};
    process.exit(acquireLock(${JSON.stringify(path)}, { waitMilliseconds: 0 }) === undefined ? 7 : 8);
  `;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script]);
  const [status] = await once(child, 'exit');
  assert.equal(status, 7);
  lock?.release();
});

test('releases the lock if the action throws', (context) => {
  const path = join(ownDirectory(context), 'lock');
  assert.throws(
    () =>
      withLock(path, 0, () => {
        throw new Error('inside');
      }),
    /inside/,
  );
  acquireLock(path, { waitMilliseconds: 0 })?.release();
});

test('the lock file is private and empty, and no other file is created', (context) => {
  const directory = ownDirectory(context);
  const path = join(directory, 'lock');
  withLock(path, 0, () => {
    assert.deepEqual(readdirSync(directory), ['lock']);
    assert.equal(statSync(path).mode & 0o777, 0o600);
    assert.equal(statSync(path).size, 0);
  });
});

test('the next holder locks the new file if the old one was removed', async (context) => {
  const path = join(ownDirectory(context), 'lock');
  await holder(context, path);
  unlinkSync(path);
  const next = acquireLock(path, { waitMilliseconds: 0 });
  assert.ok(next);
  assert.equal(acquireLock(path, { waitMilliseconds: 0 }), undefined);
  next.release();
});

test('refuses a link, a file that others can open, and a file that is not a lock', (context) => {
  const directory = ownDirectory(context);
  symlinkSync(join(directory, 'elsewhere'), join(directory, 'link'));
  assert.throws(
    () => acquireLock(join(directory, 'link'), { waitMilliseconds: 0 }),
    refusal('unsafe-permissions'),
  );
  writeFileSync(join(directory, 'open'), '');
  chmodSync(join(directory, 'open'), 0o666);
  assert.throws(
    () => acquireLock(join(directory, 'open'), { waitMilliseconds: 0 }),
    refusal('unsafe-permissions'),
  );
  writeFileSync(join(directory, 'text'), 'no database\n'.repeat(100), { mode: 0o600 });
  assert.throws(() => acquireLock(join(directory, 'text'), { waitMilliseconds: 0 }), refusal('io-failed'));
  assert.throws(
    () => acquireLock(join(directory, 'missing', 'lock'), { waitMilliseconds: 0 }),
    refusal('io-failed', /ENOENT/),
  );
});
