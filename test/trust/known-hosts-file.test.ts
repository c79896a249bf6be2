import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, statSync } from 'node:fs';
import { test } from 'node:test';
import { updateKnownHosts } from '../../src/trust/known-hosts-file.ts';
import { contents, temporaryPaths } from './place.ts';

const mints = `first=SHA256:${'m'.repeat(43)}\n`;
const ours = `dev=SHA256:${'o'.repeat(43)}\n`;

function wait(milliseconds: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds);
}

test('does not lose the line of a Mint that opened the file before we replaced it and writes later', async (context) => {
  const { dir, knownHosts } = temporaryPaths(context);
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  // It writes as soon as the file that it has opened is not the one of that name any more.
  const script = 'exec 3>"$1"; while [ "$1" -ef /proc/self/fd/3 ]; do :; done; printf %s "$2" >&3';
  let mint: ReturnType<typeof spawn> | undefined;
  updateKnownHosts(knownHosts, undefined, (text) => {
    if (mint === undefined) {
      // A new file has no content that Mint's truncation could remove: only the time changes.
      wait(20);
      const before = statSync(knownHosts).mtimeMs;
      mint = spawn('sh', ['-c', script, 'sh', knownHosts, mints]);
      const deadline = performance.now() + 15_000;
      while (statSync(knownHosts).mtimeMs === before && performance.now() < deadline) wait(1);
    }
    return text.includes(ours) ? text : `${text}${ours}`;
  });
  assert.ok(mint);
  if (mint.exitCode === null) await once(mint, 'exit');
  const text = contents(knownHosts) ?? '';
  assert.deepEqual(text.split('\n').toSorted(), `${mints}${ours}`.split('\n').toSorted());
});
