import assert from 'node:assert/strict';
import { once } from 'node:events';
import { chmodSync, lstatSync, mkdirSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { ensureForwardSocket } from '../../src/platform/forward-socket.ts';
import { resolvePaths } from '../../src/platform/paths.ts';
import { ownDirectory, refusal } from './directory.ts';

test('creates an empty private file until there is a socket', (context) => {
  const paths = resolvePaths({ configDir: ownDirectory(context) });
  ensureForwardSocket(paths);
  assert.equal(statSync(paths.forward).size, 0);
  assert.equal(statSync(paths.forward).mode & 0o777, 0o600);
  assert.equal(statSync(paths.run).mode & 0o777, 0o700);
  ensureForwardSocket(paths);
});

test("does not change the agent's socket", async (context) => {
  const paths = resolvePaths({ configDir: ownDirectory(context) });
  mkdirSync(paths.run, { mode: 0o700 });
  const server = createServer().listen(paths.forward);
  context.after(() => server.close());
  await once(server, 'listening');
  const before = lstatSync(paths.forward).ino;
  ensureForwardSocket(paths);
  assert.equal(lstatSync(paths.forward).ino, before);
});

test('a link to a socket, and a run directory open to others, are refused', (context) => {
  const directory = ownDirectory(context);
  const paths = resolvePaths({ configDir: directory });
  mkdirSync(paths.run, { mode: 0o700 });
  writeFileSync(join(directory, 'elsewhere'), '');
  symlinkSync(join(directory, 'elsewhere'), paths.forward);
  assert.throws(() => ensureForwardSocket(paths), refusal('unsafe-permissions', /neither a socket nor/));
  chmodSync(paths.run, 0o750);
  assert.throws(() => ensureForwardSocket(paths), refusal('unsafe-permissions', /open to others/));
});
