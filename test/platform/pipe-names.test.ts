import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { chmodSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { knownPipeSecret, pipeName, pipeSecret, singlePipeName } from '../../src/platform/pipe-names.ts';
import { socketPlaces } from '../../src/platform/sockets.ts';
import { ownDirectory, refusal } from './directory.ts';

test('a pipe keeps its name while the secret is the same, and other purposes, VMs and secrets have other names', (context) => {
  const [one, other] = [ownDirectory(context), ownDirectory(context)];
  const all = [one, other].flatMap((run) => {
    const places = socketPlaces(run, true);
    return [places.control, places.forward, places.vm('dev'), places.vm('dev2'), places.forwardOf('dev')];
  });
  assert.equal(new Set(all).size, all.length);
  for (const name of all) assert.match(name, /^\\\\\.\\pipe\\mint-ssh-[0-9a-f]{32}$/);
  assert.equal(socketPlaces(one, true).vm('dev'), all[2]);
  // Words are told apart, and not only their letters.
  const secret = pipeSecret(one);
  assert.notEqual(pipeName(secret, 'agent', 'dev'), pipeName(secret, 'agentdev'));
  assert.notEqual(singlePipeName(), singlePipeName());
});

test('reading the secret does not create it', (context) => {
  const directory = ownDirectory(context);
  assert.equal(knownPipeSecret(directory), undefined);
  assert.equal(knownPipeSecret(join(directory, 'nowhere')), undefined);
  const secret = pipeSecret(directory);
  assert.equal(secret.length, 32);
  assert.deepEqual(knownPipeSecret(directory), secret);
  assert.equal(statSync(join(directory, 'pipes')).mode & 0o777, 0o600);
});

test('many simultaneous processes create one secret', async (context) => {
  const run = join(ownDirectory(context), 'run');
  const module = join(import.meta.dirname, '../../src/platform/pipe-names.ts');
  const script = `import { pipeSecret } from ${JSON.stringify(module)};
    console.log(pipeSecret(${JSON.stringify(run)}).toString('hex'));`;
  const words = ['--input-type=module-typescript', '-e', script];
  const told = await Promise.all(
    Array.from({ length: 6 }, () => promisify(execFile)(process.execPath, words)),
  );
  assert.equal(new Set(told.map(({ stdout }) => stdout)).size, 1);
  assert.equal(told[0]?.stdout, readFileSync(join(run, 'pipes'), 'utf8'));
});

test('waits for a secret that is being written, and refuses an invalid one', (context) => {
  const run = join(ownDirectory(context), 'run');
  mkdirSync(run, { mode: 0o700 });
  // Each is waited for: it could be a beginning.
  for (const text of ['ab', `${'0'.repeat(65)}\n`]) {
    writeFileSync(join(run, 'pipes'), text, { mode: 0o600 });
    assert.throws(() => pipeSecret(run), refusal('io-failed', /not what mint-ssh has written/), text);
  }
  writeFileSync(join(run, 'pipes'), 'x'.repeat(2000), { mode: 0o600 });
  assert.throws(() => knownPipeSecret(run), refusal('io-failed', /more than 1024 bytes/));
});

test('refuses a secret that others can read', (context) => {
  const run = ownDirectory(context);
  pipeSecret(run);
  chmodSync(join(run, 'pipes'), 0o644);
  assert.throws(() => knownPipeSecret(run), refusal('unsafe-permissions'));
});
