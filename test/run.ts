/**
 * `npm test`: every test file; then those that failed a second time, one by one.
 *
 * The tests drive real programs against real time limits. On a machine that stands still for seconds one of
 * them may fail for that alone: it has to pass by itself, on a quiet machine, and is named as unsteady. What
 * fails twice fails, and so does whatever breaks more than a handful of files.
 */
import { spawnSync } from 'node:child_process';
import { globSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';

/** More files than this do not fail by chance. */
const handful = 5;
const root = join(import.meta.dirname, '..');
const directory = mkdtempSync(join(tmpdir(), 'mint-tests-'));

/** Runs the files; gives those that failed, and whether all went well. */
function run(
  files: readonly string[],
  concurrency: number,
): { readonly failed: string[]; readonly good: boolean } {
  const list = join(directory, 'failed');
  const { status } = spawnSync(
    process.execPath,
    [
      '--test',
      `--test-concurrency=${concurrency}`,
      '--test-timeout=180000',
      '--test-reporter=spec',
      '--test-reporter-destination=stdout',
      `--test-reporter=${join(import.meta.dirname, 'failed-files.ts')}`,
      `--test-reporter-destination=${list}`,
      ...files,
    ],
    { cwd: root, stdio: 'inherit' },
  );
  const failed = [...new Set(readFileSync(list, 'utf8').split('\n').filter(Boolean))];
  return { failed, good: status === 0 };
}

function say(words: string): void {
  process.stdout.write(`\ntest: ${words}\n`);
}

try {
  const wanted = process.argv.slice(2);
  const files = globSync(wanted.length > 0 ? wanted : 'test/**/*.test.ts', { cwd: root }).sort();
  if (files.length === 0) throw new Error('no test file is called that');
  const first = run(files, 2);
  let good = first.good;
  if (!good && first.failed.length > 0 && first.failed.length <= handful) {
    say(`once more, by themselves: ${first.failed.map((file) => relative(root, file)).join(' ')}`);
    const second = run(first.failed, 1);
    good = second.good;
    for (const file of first.failed) {
      if (!second.failed.includes(file))
        say(`unsteady: ${relative(root, file)} failed once, and passed by itself`);
    }
  }
  process.exitCode = good ? 0 : 1;
} finally {
  rmSync(directory, { recursive: true, force: true });
}
