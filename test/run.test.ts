/** The runner: what a test may use, and what it does with a file that fails, or fails once. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { after, describe, test } from 'node:test';
import { startChild } from './openssh/child.ts';
import { runningProcesses } from './openssh/processes.ts';
import { declaredPrograms, pathsByPackage, testPath } from './programs.ts';
import { tierOf } from './tiers.ts';
import { pythonImports, undeclaredIn, undeclaredModules } from './undeclared.ts';

const root = join(import.meta.dirname, '..');
const directory = mkdtempSync(join(tmpdir(), 'mint-run-'));
after(() => rmSync(directory, { recursive: true, force: true }));

async function run(words: readonly string[], variables: Readonly<Record<string, string>> = {}) {
  const environment = { PATH: testPath, HOME: directory, ...variables };
  const args = [join(root, 'test/run.ts'), ...words];
  const { status, stdout, stderr } = await startChild(process.execPath, args, environment, {
    timeout: 120_000,
  }).done;
  return { status, output: stdout + stderr, last: stdout.trimEnd().split('\n').at(-1) ?? '' };
}

/** A test file for the runner, which globs from the checkout. */
function file(name: string, body: string): string {
  const path = join(directory, name);
  writeFileSync(
    path,
    `import { test } from 'node:test';\nimport { spawn, spawnSync } from 'node:child_process';\n${body}`,
  );
  return relative(root, path);
}

describe('the runner', () => {
  const shellcheck = 'test/shell-scripts.test.ts';

  test('lets a test find the declared programs', async () => {
    const { status, last, output } = await run([shellcheck]);
    assert.equal(status, 0, output);
    assert.match(
      last,
      /^test: passed: 1 tests in 1 files: 1 passed, 0 failed, 0 skipped; 0 files unsteady; \d+ s$/,
    );
  });

  test('makes the test of a program that is taken from the table fail, though the program is installed', async () => {
    const { status, last, output } = await run(['--without', 'shellcheck', shellcheck]);
    assert.equal(status, 1);
    assert.match(output, /spawn shellcheck ENOENT/);
    assert.match(last, /^test: FAILED: .* 0 passed, 1 failed/);
  });

  test('refuses a path that is taken from the table, though the file is installed, and names who uses it', async () => {
    for (const [path, user] of [
      ['/usr/sbin/sshd', 'test/openssh/sshd.ts'],
      ['/usr/lib/systemd/systemd', 'test/commands/login-unit.test.ts'],
      ['/usr/lib/openssh/sftp-server', 'test/docs/commands.test.ts'],
    ] as const) {
      assert.ok(existsSync(path));
      const { status, output } = await run(['--without', path, shellcheck]);
      assert.equal(status, 1);
      assert.ok(output.includes(`not declared in test/programs.ts:\n  ${user}: ${path}\n`), output);
    }
  });

  const once = (marker: string) => `
    import { existsSync, writeFileSync } from 'node:fs';
    const seen = existsSync(${JSON.stringify(marker)});
    writeFileSync(${JSON.stringify(marker)}, '');
    test('fails once', () => { if (!seen) throw new Error('the first time'); console.log('the second time'); });`;

  test('fails in CI where a file fails and passes when repeated, and prints both outputs', async () => {
    const unsteady = file('unsteady.test.ts', once(join(directory, 'seen-in-ci')));
    const { status, last, output } = await run([unsteady], { CI: 'true' });
    assert.equal(status, 1);
    assert.match(
      output,
      /the second time[\s\S]*UNSTEADY: \S*unsteady\.test\.ts[\s\S]*fails once\n.*the first time/,
    );
    assert.match(last, /FAILED: .*1 files unsteady/);
  });

  test('names such a file elsewhere, and passes', async () => {
    const unsteady = file('unsteady-here.test.ts', once(join(directory, 'seen-here')));
    const { status, last } = await run([unsteady], { CI: '' });
    assert.equal(status, 0);
    assert.match(last, /passed: .*1 files unsteady/);
  });

  test('fails where a test leaves a process running, and ends it', async () => {
    const leaves = file(
      'leaves.test.ts',
      `test('leaves', () => spawn('sleep', ['300'], { detached: true, stdio: 'ignore' }).unref());`,
    );
    const { status, output } = await run([leaves], { CI: '' });
    assert.equal(status, 1);
    assert.match(output, /LEFT RUNNING by a test, and killed:\n\d+ sleep 300/);
    const pid = /killed:\n(\d+) /.exec(output)?.[1] ?? assert.fail();
    assert.ok(!runningProcesses().some((each) => each.pid === Number(pid)));
  });
});

test('an undeclared path is found in every form, and not where it is the rest of a longer path', () => {
  const found = (text: string) => undeclaredIn(text, ['/usr/bin/ssh', '/usr/lib/declared']);
  for (const path of [
    '/usr/bin/nc',
    '/bin/busybox',
    '/sbin/ip',
    '/lib64/x.so',
    `/usr/bin/\${name}`,
    '/usr/bin',
    '/usr/lib/declared2',
  ])
    for (const text of [
      `'${path}'`,
      `"${path}"`,
      `\`${path}\``,
      `exec ${path} "$@"`,
      `PATH=${path}:/tmp`,
      `#!${path}\n`,
      `(${path})`,
    ])
      assert.deepEqual(found(text), [path], text);
  for (const text of [
    "'/usr/bin/ssh'",
    "'/usr/lib/declared/x'",
    `\`\${root}/usr/bin/nc\``,
    "'./bin/x'",
    "'bin/x'",
    '~/bin/x',
    "'/binary'",
    "'/opt/bin/x'",
  ])
    assert.deepEqual(found(text), [], text);
});

test('each Python module that a test imports is Python’s own or declared', () => {
  assert.deepEqual(
    pythonImports('import a\nimport b.c, d\n  from e.f import g, h\nimporting = 1\nx = "import y"\n'),
    ['a', 'b', 'd', 'e'],
  );
  const names = execFileSync('/usr/bin/python3', ['-c', 'import sys; print(*sys.stdlib_module_names)'], {
    encoding: 'utf8',
    timeout: 60_000,
  });
  const own = new Set(names.trim().split(' '));
  assert.deepEqual(undeclaredModules(own), []);
  own.delete('ctypes');
  const undeclared = undeclaredModules(own).map(({ module }) => module);
  assert.deepEqual(undeclared, ['ctypes']);
});

test('a file that no table names is in the quick tier', () => {
  assert.equal(tierOf('test/new/thing.test.ts'), 'quick');
  assert.equal(tierOf('test/soak/soak.test.ts'), 'alone');
});

test('each program is declared once, and each declared path is absolute', () => {
  assert.equal(new Set(declaredPrograms).size, declaredPrograms.length);
  for (const path of Object.values(pathsByPackage).flat()) assert.match(path, /^\//);
});
