import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { type Paths, vmPaths } from '../../src/platform/paths.ts';
import type { HostKey } from '../../src/ssh/hostkey.ts';
import { TrustStore } from '../../src/trust/store.ts';
import { contents, derivedOf, ed25519Key, filesOf, keysOfRecord, lineOf, temporaryPaths } from './place.ts';
import { type Ended, pathOf, run } from './run-program.ts';

const [old, next] = [ed25519Key(), ed25519Key()];
const foreign = '# a comment\r\nbuild=something\n\xff\n';

function store(paths: Paths, operation: string, key: HostKey, killAt: number): Promise<Ended> {
  const words = ['--import', pathOf('programs/killed-at-step.ts'), pathOf('programs/store.ts')];
  const request = [paths.dir, operation, 'dev', key.blob.toString('base64'), 'i-1'];
  return run(process.execPath, [...words, ...request], {
    env: { ...process.env, KILL_AT: String(killAt) },
  });
}

/** Runs the operation from the same start, killed before its first call, its second, … until it completes. */
async function killAtEachStep(
  paths: Paths,
  operation: string,
  key: HostKey,
  check: (step: number) => Promise<void>,
) {
  for (let step = 1; ; step += 1) {
    await begin(paths);
    const ended = await store(paths, operation, key, step);
    if (ended.signal !== 'SIGKILL') {
      assert.equal(ended.status, 0, ended.stderr);
      assert.ok(step > 5, `${operation} made only ${step} calls`);
      return;
    }
    await check(step);
  }
}

let begin: (paths: Paths) => Promise<void>;

function writeFiles(paths: Paths): void {
  rmSync(paths.dir, { recursive: true, force: true });
  mkdirSync(paths.dir, { recursive: true, mode: 0o700 });
  writeFileSync(paths.knownHosts, foreign, { encoding: 'latin1', mode: 0o600 });
}

async function pinOld(paths: Paths): Promise<void> {
  writeFiles(paths);
  const writer = new TrustStore(paths);
  const checked = await writer.check({ vm: 'dev', key: old, instance: 'i-1' });
  if (checked.outcome === 'new') checked.provisional.pin();
  await writer.check({ vm: 'dev', key: next, instance: 'i-1' });
}

/** The state after a new agent has started. */
async function kinds(paths: Paths) {
  const agent = new TrustStore(paths);
  agent.start();
  const judged = [];
  for (const key of [old, next]) {
    const checked = await agent.check({ vm: 'dev', key, instance: 'i-1' });
    if (checked.outcome === 'new') checked.provisional.release();
    judged.push(checked.outcome);
  }
  return judged.join(' ');
}

describe('a process that is killed at any step', () => {
  test('of accepting a key leaves either the old or the new one trusted, and every file complete', async (context) => {
    const paths = temporaryPaths(context);
    const outcomes = new Set<string>();
    begin = pinOld;
    await killAtEachStep(paths, 'accept', next, async () => {
      const text = contents(paths.knownHosts);
      assert.ok([foreign + lineOf('dev', old), foreign + lineOf('dev', next)].includes(text ?? ''), text);
      const { record, derived } = filesOf(paths, 'dev');
      assert.ok(
        [old.fingerprint, next.fingerprint].includes(String(keysOfRecord(record)[0]?.['fingerprint'])),
      );
      assert.ok([derivedOf('dev', old), derivedOf('dev', next)].includes(derived ?? ''));
      outcomes.add(await kinds(paths));
    });
    assert.deepEqual([...outcomes], ['pinned changed', 'changed pinned']);
  });

  test('of pinning a first key leaves it pinned, or leaves nothing', async (context) => {
    const paths = temporaryPaths(context);
    const outcomes = new Set<string>();
    begin = async () => writeFiles(paths);
    await killAtEachStep(paths, 'pin', old, async () => {
      const text = contents(paths.knownHosts);
      assert.ok([foreign, foreign + lineOf('dev', old)].includes(text ?? ''), text);
      outcomes.add(await kinds(paths));
      if (contents(paths.knownHosts) === foreign) assert.deepEqual(vmFiles(paths), []);
    });
    assert.deepEqual([...outcomes], ['new new', 'pinned changed']);
  });

  test('of forgetting a key leaves it trusted or unknown', async (context) => {
    const paths = temporaryPaths(context);
    const outcomes = new Set<string>();
    begin = pinOld;
    await killAtEachStep(paths, 'forget', old, async () => {
      const text = contents(paths.knownHosts);
      assert.ok([foreign, foreign + lineOf('dev', old)].includes(text ?? ''), text);
      outcomes.add(await kinds(paths));
    });
    assert.deepEqual([...outcomes], ['pinned changed', 'new new']);
  });

  test('leaves no temporary file for ever: a starting agent removes old ones', async (context) => {
    const paths = temporaryPaths(context);
    await pinOld(paths);
    const abandoned = `${paths.hosts}/.dev.json.0123456789abcdef.tmp`;
    writeFileSync(abandoned, '');
    new TrustStore(paths).start();
    assert.equal(contents(abandoned), '');

    utimesSync(abandoned, 0, 0);
    new TrustStore(paths).start();
    assert.equal(contents(abandoned), undefined);
    assert.equal(contents(vmPaths(paths, 'dev').knownHosts), derivedOf('dev', old));
  });
});

function vmFiles(paths: Paths): string[] {
  return readdirSync(paths.hosts).filter((name) => name.startsWith('dev'));
}
