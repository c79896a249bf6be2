import assert from 'node:assert/strict';
import { chmodSync, chownSync, lstatSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import type { Paths } from '../../src/platform/paths.ts';
import type { HostKey } from '../../src/ssh/hostkey.ts';
import { TrustStore } from '../../src/trust/store.ts';
import { asNobody, nobody } from '../unprivileged.ts';
import { contents, derivedOf, ed25519Key, filesOf, keysOfRecord, lineOf, temporaryPaths } from './place.ts';
import { pathOf, run } from './run-program.ts';

const [old, other] = [ed25519Key(), ed25519Key()];

/** Runs a store operation in a process that cannot write to any file. */
async function withFullDisk(paths: Paths, operation: string, vm: string, key: HostKey): Promise<unknown> {
  const request = [paths.dir, operation, vm, key.blob.toString('base64'), 'i-1'];
  // RLIMIT_FSIZE with SIGXFSZ ignored: every write fails with EFBIG, as it does with ENOSPC on a full disk.
  const shell = 'trap "" XFSZ; ulimit -f 0; exec "$@"';
  const words = ['-c', shell, 'sh', process.execPath, pathOf('programs/store.ts'), ...request];
  const { status, stdout, stderr } = await run('sh', words);
  assert.equal(status, 0, stderr);
  return JSON.parse(stdout);
}

async function pin(paths: Paths, vm: string, key: HostKey): Promise<void> {
  const checked = await new TrustStore(paths).check({ vm, key, instance: 'i-1' });
  assert.equal(checked.outcome, 'new');
  if (checked.outcome === 'new') checked.provisional.pin();
}

function leftovers(paths: Paths): string[] {
  return [...readdirSync(paths.dir), ...readdirSync(paths.hosts)].filter((name) => name.endsWith('.tmp'));
}

describe('a full disk', () => {
  test('accepts pinned keys, and blocks a changed key', async (context) => {
    const paths = temporaryPaths(context);
    await pin(paths, 'dev', old);
    assert.deepEqual(await withFullDisk(paths, 'judge', 'dev', old), { outcome: 'pinned' });
    assert.deepEqual(await withFullDisk(paths, 'judge', 'dev', other), { outcome: 'changed' });
    writeFileSync(paths.knownHosts, '# rewritten\n');
    assert.deepEqual(await withFullDisk(paths, 'judge', 'dev', old), { outcome: 'pinned' });
    assert.deepEqual(await withFullDisk(paths, 'judge', 'dev', other), { outcome: 'changed' });
    assert.deepEqual(leftovers(paths), []);
  });

  test('refuses a first key and an acceptance, and does not change any file', async (context) => {
    const paths = temporaryPaths(context);
    await pin(paths, 'dev', old);
    for (const [operation, vm] of [
      ['pin', 'build'],
      ['accept', 'dev'],
      ['accept', 'build'],
    ] as const) {
      const { code, hint } = (await withFullDisk(paths, operation, vm, other)) as Record<string, string>;
      assert.equal(code, 'io-failed', `${operation} ${vm}`);
      assert.ok(hint !== undefined && hint.length > 0);
    }
    assert.equal(contents(paths.knownHosts), lineOf('dev', old));
    assert.equal(filesOf(paths, 'dev').derived, derivedOf('dev', old));
    assert.equal(keysOfRecord(filesOf(paths, 'dev').record)[0]?.['fingerprint'], old.fingerprint);
    assert.equal(filesOf(paths, 'build').derived, undefined);
    assert.deepEqual(leftovers(paths), []);
  });
});

describe('a directory that cannot be written', () => {
  /** Root may write anywhere, so as root the files and the process belong to the user nobody. */
  async function readOnly(
    context: TestContext,
    paths: Paths,
    operation: string,
    vm: string,
    key: HostKey,
  ): Promise<unknown> {
    const request = [paths.dir, operation, vm, key.blob.toString('base64'), 'i-1'];
    const words =
      process.getuid?.() === 0
        ? asNobody(context, (copy) => `import '${copy}/test/trust/programs/store.ts'`, request)
        : [process.execPath, pathOf('programs/store.ts'), ...request];
    const { status, stdout, stderr } = await run(words[0] ?? '', words.slice(1));
    assert.equal(status, 0, stderr);
    return JSON.parse(stdout);
  }

  test('accepts pinned keys and blocks others; refuses a first key with its code', async (context) => {
    const paths = temporaryPaths(context);
    mkdirSync(paths.dir, { mode: 0o700 });
    await pin(paths, 'dev', old);
    const all = [
      paths.dir,
      paths.knownHosts,
      paths.hosts,
      ...readdirSync(paths.hosts).map((name) => join(paths.hosts, name)),
    ];
    // The test's directory above is 0700, and the user nobody has to pass it.
    chmodSync(join(paths.dir, '..'), 0o711);
    for (const path of all) {
      if (process.getuid?.() === 0) chownSync(path, nobody, nobody);
      if (lstatSync(path).isDirectory()) chmodSync(path, 0o500);
    }
    try {
      assert.deepEqual(await readOnly(context, paths, 'judge', 'dev', old), { outcome: 'pinned' });
      assert.deepEqual(await readOnly(context, paths, 'judge', 'dev', other), { outcome: 'changed' });
      const refused = (await readOnly(context, paths, 'judge', 'build', other)) as Record<string, string>;
      assert.equal(refused['code'], 'io-failed');
      const accepted = (await readOnly(context, paths, 'accept', 'dev', other)) as Record<string, string>;
      assert.equal(accepted['code'], 'io-failed');
      assert.equal(contents(paths.knownHosts), lineOf('dev', old));
    } finally {
      for (const path of [paths.hosts, paths.dir]) chmodSync(path, 0o700);
    }
  });
});
