import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { type AuditEntry, appendAudit, auditLimit } from '../../src/platform/audit.ts';
import { type Paths, resolvePaths } from '../../src/platform/paths.ts';
import { needsRoot, ownDirectory } from './directory.ts';

const program = join(import.meta.dirname, 'programs/audit-many.ts');
const entry: AuditEntry = { event: 'push', command: 'proxy', vm: 'dev' };

function place(context: TestContext): Paths {
  const configDir = join(ownDirectory(context), 'mint');
  mkdirSync(configDir, { mode: 0o700 });
  return resolvePaths({ configDir });
}

function lines(path: string): Record<string, unknown>[] {
  const text = readFileSync(path, 'utf8');
  assert.ok(text.endsWith('\n'));
  return text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
}

function appendInProcess(paths: Paths, name: string, count: number): Promise<number | null> {
  const child = spawn(process.execPath, [program, paths.dir, name, String(count)], { stdio: 'inherit' });
  return new Promise((resolve) => child.once('exit', resolve));
}

test('a line has the four fields of Mint, and ours if they are known', (context) => {
  const paths = place(context);
  const before = Date.now();
  assert.ok(appendAudit(paths, entry));
  const known: AuditEntry = {
    event: 'login',
    command: 'proxy',
    vm: 'dev',
    callerArn: 'arn:aws:iam::123456789012:user/me',
    instance: 'i-0123456789abcdef0',
    user: 'ubuntu',
    requestId: 'a-b-c',
    keyFingerprint: 'SHA256:x',
  };
  assert.ok(appendAudit(paths, known));
  const [first = {}, second = {}] = lines(paths.audit);
  assert.ok(Math.abs(Date.parse(String(first['timestamp'])) - before) < 10_000);
  assert.deepEqual(
    { ...first, timestamp: '' },
    { timestamp: '', command: 'proxy', vm_name: 'dev', caller_arn: null, event: 'push' },
  );
  assert.deepEqual(
    { ...second, timestamp: '' },
    {
      timestamp: '',
      command: 'proxy',
      vm_name: 'dev',
      caller_arn: 'arn:aws:iam::123456789012:user/me',
      event: 'login',
      instance_id: 'i-0123456789abcdef0',
      user: 'ubuntu',
      aws_request_id: 'a-b-c',
      key_fingerprint: 'SHA256:x',
    },
  );
  assert.equal(statSync(paths.audit).mode & 0o777, 0o600);
});

test('untrusted text cannot end a line or fill it, and is escaped', (context) => {
  const paths = place(context);
  const hostile = 'a\n{"x":1}\r\u2028\u0085\u001b[31m\u202e\0"\\';
  assert.ok(appendAudit(paths, { ...entry, user: hostile, callerArn: 'é'.repeat(100_000) }));
  assert.match(readFileSync(paths.audit, 'latin1'), /^[ -~]+\n$/);
  const [line = {}] = lines(paths.audit);
  assert.equal(line['user'], hostile);
  assert.ok(String(line['caller_arn']).length < 600);
});

test('lines of several processes are complete and follow each other', async (context) => {
  const paths = place(context);
  const names = ['one', 'two', 'three', 'four'];
  assert.deepEqual(await Promise.all(names.map((name) => appendInProcess(paths, name, 200))), [0, 0, 0, 0]);
  const found = lines(paths.audit);
  assert.equal(found.length, 800);
  for (const name of names) {
    const own = found
      .filter((line) => line['vm_name'] === name)
      .map((line) => Number(line['aws_request_id']));
    assert.deepEqual(own, [...Array(200).keys()]);
  }
});

test('at 10 MB the file becomes audit.log.1, once, even with many writers', async (context) => {
  const paths = place(context);
  const old = `${JSON.stringify({ old: 'x'.repeat(1000) })}\n`;
  writeFileSync(paths.audit, old.repeat(Math.floor((auditLimit - 1000) / old.length)), { mode: 0o600 });
  const before = statSync(paths.audit).size;
  writeFileSync(`${paths.audit}.1`, 'the one before\n', { mode: 0o600 });
  assert.deepEqual(
    await Promise.all(['one', 'two', 'three'].map((name) => appendInProcess(paths, name, 100))),
    [0, 0, 0],
  );
  // Had it been rotated twice, these would be few and the old lines gone.
  assert.ok(statSync(`${paths.audit}.1`).size >= before);
  const ours = [...lines(`${paths.audit}.1`), ...lines(paths.audit)].filter((line) => 'event' in line);
  assert.equal(ours.length, 300);
  assert.ok(statSync(paths.audit).size < auditLimit / 2);
});

test('an incomplete line does not damage the next one', (context) => {
  const paths = place(context);
  assert.ok(appendAudit(paths, entry));
  truncateSync(paths.audit, statSync(paths.audit).size - 10);
  assert.ok(appendAudit(paths, { ...entry, vm: 'build' }));
  const last = readFileSync(paths.audit, 'utf8').trimEnd().split('\n').at(-1) ?? '';
  assert.equal(JSON.parse(last).vm_name, 'build');
});

test('removes other users’ read permission; does not write to a link or a file that others can write to', (context) => {
  const paths = place(context);
  assert.ok(appendAudit(paths, entry));
  chmodSync(paths.audit, 0o644);
  assert.ok(appendAudit(paths, entry));
  assert.equal(statSync(paths.audit).mode & 0o777, 0o600);
  const before = readFileSync(paths.audit, 'utf8');
  chmodSync(paths.audit, 0o666);
  assert.equal(appendAudit(paths, entry), false);
  assert.equal(readFileSync(paths.audit, 'utf8'), before);

  const linked = place(context);
  const target = join(linked.dir, 'target');
  writeFileSync(target, 'mine\n', { mode: 0o600 });
  symlinkSync(target, linked.audit);
  assert.equal(appendAudit(linked, entry), false);
  assert.equal(readFileSync(target, 'utf8'), 'mine\n');
});

test("does not write to another user's file", { skip: needsRoot }, (context) => {
  const paths = place(context);
  writeFileSync(paths.audit, 'theirs\n', { mode: 0o600 });
  chownSync(paths.audit, 65_534, 65_534);
  assert.equal(appendAudit(paths, entry), false);
  assert.equal(readFileSync(paths.audit, 'utf8'), 'theirs\n');
});

test('returns false for a missing directory, a pipe in its place, and a full disk', (context) => {
  const paths = place(context);
  assert.equal(appendAudit(resolvePaths({ configDir: join(paths.dir, 'nowhere') }), entry), false);
  assert.equal(existsSync(join(paths.dir, 'nowhere')), false);
  assert.equal(spawnSync('mkfifo', ['-m', '600', paths.audit]).status, 0);
  assert.equal(appendAudit(paths, entry), false);

  const full = place(context);
  assert.ok(appendAudit(full, entry));
  const limit = Math.ceil(statSync(full.audit).size / 512);
  // In the shell's blocks of 512 bytes; what is beyond them is EFBIG, as a full disk is ENOSPC.
  const script = `trap '' XFSZ; ulimit -f ${limit}; exec "$0" "$@"`;
  const outcome = spawnSync('/bin/sh', ['-c', script, process.execPath, program, full.dir, 'x', '9']);
  assert.equal(outcome.status, 1, outcome.stderr.toString());
  assert.equal(outcome.stderr.toString(), '');
});
