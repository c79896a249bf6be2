import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { Paths } from '../../src/platform/paths.ts';
import { TrustStore } from '../../src/trust/store.ts';
import { contents, ed25519Key, lineOf, temporaryPaths } from './place.ts';
import { run } from './run-program.ts';

const main = fileURLToPath(new URL('../../src/main.ts', import.meta.url));
const [old, next] = [ed25519Key(), ed25519Key()];

function hosts(paths: Paths, ...words: string[]) {
  return run(process.execPath, [main, 'hosts', ...words, '--config-dir', paths.dir]);
}

/** On a pseudo-terminal; `answer` is typed once the question is there, undefined ends the input. */
function hostsOnTerminal(
  paths: Paths,
  words: string,
  answer: string,
): Promise<{ status: number | null; seen: string }> {
  const command = `exec '${process.execPath}' '${main}' hosts ${words} --config-dir '${paths.dir}'`;
  const child = spawn('script', ['-qec', command, '/dev/null'], {
    env: { ...process.env, SHELL: '/bin/sh' },
  });
  return new Promise((resolve, reject) => {
    let seen = '';
    let answered = false;
    child.stdout.on('data', (bytes: Buffer) => {
      seen += bytes.toString();
      if (answered || !seen.includes('Type yes')) return;
      answered = true;
      child.stdin.write(answer);
    });
    child.once('error', reject);
    child.once('close', (status) => resolve({ status, seen }));
  });
}

/** `dev` is pinned to the old key on i-1; the new one was refused on i-2. */
async function changed(paths: Paths): Promise<void> {
  const store = new TrustStore(paths);
  const checked = await store.check({ vm: 'dev', key: old, instance: 'i-1' });
  if (checked.outcome === 'new') checked.provisional.pin();
  await store.check({ vm: 'dev', key: next, instance: 'i-2' });
}

describe('mint-ssh hosts', () => {
  test('without any pins lists nothing, creates nothing, and ends with 0', async (context) => {
    const paths = temporaryPaths(context);
    for (const words of [[], ['list']]) {
      const { status, stdout, stderr } = await hosts(paths, ...words);
      assert.deepEqual([status, stdout], [0, '']);
      assert.match(stderr, /^mint-ssh: no host key is pinned yet/);
    }
    assert.deepEqual(await hosts(paths, 'list', '--json'), {
      status: 0,
      signal: null,
      stdout: '[]\n',
      stderr: '',
    });
    const forgotten = await hosts(paths, 'forget', 'dev');
    assert.equal(forgotten.status, 1);
    assert.match(forgotten.stderr, /no host key of dev is known \(vm-not-found\)/);
    assert.throws(() => readFileSync(paths.dir), { code: 'ENOENT' });
  });

  test('list shows each VM on a line: fingerprint, how it was trusted, when, where', async (context) => {
    const paths = temporaryPaths(context);
    await changed(paths);
    writeFileSync(paths.knownHosts, lineOf('dev', old) + lineOf('build', next));
    const { status, stdout, stderr } = await hosts(paths);
    assert.equal(status, 0);
    const rows = stdout
      .trimEnd()
      .split('\n')
      .map((line) => line.split(/ {2,}/));
    const today = new Date().toISOString().slice(0, 10);
    assert.deepEqual(rows, [
      ['VM', 'FINGERPRINT', 'TYPE', 'EVIDENCE', 'PINNED', 'INSTANCE'],
      ['build', next.fingerprint, '-', 'by-mint'],
      ['dev', old.fingerprint, 'ed25519', 'first-use', today, 'i-1'],
    ]);
    assert.ok(stderr.includes(`dev: the key ${next.fingerprint} was refused`));
  });

  test('show and --json print all known facts', async (context) => {
    const paths = temporaryPaths(context);
    await changed(paths);
    const { stdout } = await hosts(paths, 'show', 'DEV');
    for (const part of [old.fingerprint, next.fingerprint, 'ssh-ed25519', 'i-1', 'i-2', 'first-use']) {
      assert.ok(stdout.includes(part), part);
    }
    const shown = JSON.parse((await hosts(paths, 'show', 'dev', '--json')).stdout);
    assert.deepEqual([shown.vm, shown.fingerprint, shown.evidence], ['dev', old.fingerprint, 'first-use']);
    assert.deepEqual([shown.refused.fingerprint, shown.refused.instance], [next.fingerprint, 'i-2']);
    assert.deepEqual(JSON.parse((await hosts(paths, 'list', '--json')).stdout), [shown]);
  });

  test('accept with a fingerprint does not prompt', async (context) => {
    const paths = temporaryPaths(context);
    await changed(paths);
    const { status, stdout, stderr } = await hosts(paths, 'accept', 'dev', next.fingerprint);
    assert.deepEqual([status, stdout], [0, '']);
    assert.ok(stderr.includes(next.fingerprint));
    assert.equal(contents(paths.knownHosts), lineOf('dev', next));
    const json = await hosts(paths, 'accept', 'dev', old.fingerprint, '--json');
    assert.equal(JSON.parse(json.stdout).fingerprint, old.fingerprint);
  });

  test('accept without one and without a terminal ends with 2 and the whole command', async (context) => {
    const paths = temporaryPaths(context);
    await changed(paths);
    const { status, stderr } = await hosts(paths, 'accept', 'dev');
    assert.equal(status, 2);
    assert.ok(stderr.includes(`mint-ssh: hint: mint-ssh hosts accept dev ${next.fingerprint}\n`), stderr);
    assert.equal(contents(paths.knownHosts), lineOf('dev', old));
  });

  test('accept on a terminal shows both keys and takes yes or the fingerprint', async (context) => {
    for (const answer of ['yes\n', `${next.fingerprint}\n`]) {
      const paths = temporaryPaths(context);
      await changed(paths);
      const { status, seen } = await hostsOnTerminal(paths, 'accept dev', answer);
      assert.equal(status, 0, seen);
      assert.ok(seen.includes(old.fingerprint) && seen.includes(next.fingerprint));
      assert.equal(contents(paths.knownHosts), lineOf('dev', next));
    }
  });

  test('accept on a terminal takes no other answer as a yes', async (context) => {
    const paths = temporaryPaths(context);
    await changed(paths);
    for (const answer of ['y\n', '\n', 'no\n', 'YES please\n', `${old.fingerprint}\n`, '\x04']) {
      const { status, seen } = await hostsOnTerminal(paths, 'accept dev', answer);
      assert.equal(status, 3, seen);
      assert.match(seen, /was not accepted; nothing has changed \(host-key-changed\)/);
      assert.equal(contents(paths.knownHosts), lineOf('dev', old));
    }
  });

  test('forget removes a VM, and fails if there is none', async (context) => {
    const paths = temporaryPaths(context);
    await changed(paths);
    assert.equal((await hosts(paths, 'forget', 'dev')).status, 0);
    assert.equal(contents(paths.knownHosts), '');
    const again = await hosts(paths, 'forget', 'dev');
    assert.equal(again.status, 1);
    assert.match(again.stderr, /\(vm-not-found\)/);
  });

  test('refuses unknown arguments with 2', async (context) => {
    const paths = temporaryPaths(context);
    for (const words of [
      ['check'],
      ['list', 'dev'],
      ['show'],
      ['show', '../x'],
      ['show', 'a', 'b'],
      ['accept'],
      ['accept', 'dev'],
      ['accept', 'dev', 'SHA256:abc'],
      ['accept', 'dev', old.fingerprint, 'x'],
      ['forget', 'a=b'],
      ['constructor'],
      ['list', '--jsno'],
    ]) {
      const { status, stdout, stderr } = await hosts(paths, ...words);
      assert.equal(status, 2, `${words.join(' ')}: ${stderr}`);
      assert.equal(stdout, '');
      assert.match(stderr, /^mint-ssh: error: .* \((usage|bad-vm-name)\)\nmint-ssh: hint: /);
    }
  });

  test('refuses a file that is not text with 3, and shows an invalid line beside the other VMs', async (context) => {
    const paths = temporaryPaths(context);
    mkdirSync(paths.dir, { recursive: true, mode: 0o700 });
    writeFileSync(paths.knownHosts, `${lineOf('dev', old)}build=\x1b[31m\n`, { mode: 0o600 });
    const { status, stdout, stderr } = await hosts(paths);
    assert.equal(status, 0);
    assert.ok(stdout.includes(old.fingerprint));
    assert.match(stderr, /^mint-ssh: build: known_hosts line 2: /);
    writeFileSync(paths.knownHosts, '\0');
    for (const words of [['list'], ['forget', 'dev'], ['accept', 'dev', old.fingerprint]]) {
      const refused = await hosts(paths, ...words);
      assert.equal(refused.status, 3);
      assert.match(refused.stderr, /NUL byte \(known-hosts-corrupt\)/);
    }
    assert.equal(contents(paths.knownHosts), '\0');
  });
});
