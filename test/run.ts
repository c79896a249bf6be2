/**
 * `npm test` and `npm run test:all`: runs the test files of the wanted tiers, each once.
 *
 *     node test/run.ts [--all] [--without PROGRAM|PATH]… [FILE|GLOB]…
 *
 * The tests find the programs that `test/programs.ts` declares in their PATH, and no other. Paths of other programs and
 * libraries that a test names are an error. `--without` removes one more from the table.
 * A few files that failed run once more, by themselves. A file that passes then is unsteady: its name and both outputs are
 * printed. With `CI=true` that fails the run. A process that a test left behind fails it everywhere.
 */
import { spawn } from 'node:child_process';
import { chmodSync, globSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { parseArgs } from 'node:util';
import { waitFor } from './openssh/child.ts';
import { processesOf } from './openssh/processes.ts';
import { linkPrograms, missingPrograms } from './programs.ts';
import type { ReportLine } from './report.ts';
import { type Tier, tierOf, tiers } from './tiers.ts';
import { undeclaredPaths } from './undeclared.ts';

/** More files than this do not fail by chance. */
const mostRepeated = 5;
/** A test that takes longer than this hangs. Some set a longer limit themselves. */
const timeoutMs = 600_000;
const root = join(import.meta.dirname, '..');
/** Whether a signal asked the runner to stop. */
let interrupted = false;
const isCi = ['true', '1'].includes(process.env['CI'] ?? '');

type FileResult = Extract<ReportLine, { kind: 'file' }>;
type Failure = Extract<ReportLine, { kind: 'failure' }>;

interface Outcome {
  readonly good: boolean;
  readonly files: readonly FileResult[];
  readonly failures: readonly Failure[];
}

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** How many files run at once: the quick ones mostly wait for other programs. */
function concurrency(tier: Tier): number {
  const processors = availableParallelism();
  return { quick: Math.max(3, processors + 1), slow: Math.max(2, processors), alone: 1 }[tier];
}

/** Runs files with node's own runner, whose output goes to ours. */
async function run(files: readonly string[], atOnce: number, scratch: string): Promise<Outcome> {
  const report = join(mkdtempSync(join(scratch, 'report-')), 'report');
  const words = [
    '--test',
    `--test-concurrency=${atOnce}`,
    `--test-timeout=${timeoutMs}`,
    '--test-reporter=spec',
    '--test-reporter-destination=stdout',
    `--test-reporter=${join(import.meta.dirname, 'report.ts')}`,
    `--test-reporter-destination=${report}`,
    ...files,
  ];
  const { NODE_TEST_CONTEXT: _, ...environment } = process.env;
  const child = spawn(process.execPath, words, {
    cwd: root,
    stdio: ['ignore', 'inherit', 'inherit'],
    env: { ...environment, PATH: join(scratch, 'bin') },
  });
  const stop = (signal: NodeJS.Signals) => {
    interrupted = true;
    child.kill(signal);
  };
  process.on('SIGINT', stop).on('SIGTERM', stop);
  const status = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject).once('exit', resolve);
  });
  process.off('SIGINT', stop).off('SIGTERM', stop);
  const lines = readFileSync(report, 'utf8')
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line) as ReportLine);
  return {
    good: status === 0,
    files: lines.filter((line) => line.kind === 'file'),
    failures: lines.filter((line) => line.kind === 'failure'),
  };
}

/** Runs the files that failed again, by themselves. @returns those that passed */
async function repeat(first: Outcome, failed: readonly string[], scratch: string): Promise<string[]> {
  print(`\ntest: once more, each alone: ${failed.join(' ')}`);
  const steady: string[] = [];
  for (const file of failed) {
    if ((await run([file], 1, scratch)).good) steady.push(file);
  }
  for (const file of steady) {
    print(
      `\ntest: UNSTEADY: ${file} failed, and passed when it ran alone (its output is above). What failed first:`,
    );
    for (const { name, error } of first.failures.filter((each) => relative(root, each.file) === file))
      print(`${name}\n${error}`);
  }
  return steady;
}

/** Ends what the tests left running. @returns their command lines */
async function endLeftProcesses(bin: string): Promise<string[]> {
  const isOver = () => processesOf(bin).length === 0;
  if (await waitFor('the tests’ processes to end', 10_000, isOver).catch(() => false)) return [];
  const left = processesOf(bin);
  for (const { pid } of left) process.kill(pid, 'SIGKILL');
  return left.map(({ pid, command }) => `${pid} ${command}`);
}

function total(files: readonly FileResult[], of: (file: FileResult) => number): number {
  return files.reduce((sum, file) => sum + of(file), 0);
}

function printSlowest(files: readonly FileResult[]): void {
  print('\ntest: the ten slowest files:');
  for (const { file, milliseconds } of [...files]
    .sort((a, b) => b.milliseconds - a.milliseconds)
    .slice(0, 10))
    print(`  ${(milliseconds / 1000).toFixed(1).padStart(6)} s  ${relative(root, file)}`);
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    all: { type: 'boolean', default: false },
    without: { type: 'string', multiple: true, default: [] },
  },
});
const missing = missingPrograms({ slow: values.all });
if (missing.length > 0) {
  const names = missing.map((each) => `${each.what} (${each.package})`).join(' ');
  print(`test: missing on this machine: ${names}; run: node test/prepare.ts${values.all ? ' --all' : ''}`);
  process.exit(1);
}
const undeclared = undeclaredPaths(values.without);
if (undeclared.length > 0) {
  const lines = undeclared.map(({ file, path }) => `\n  ${file}: ${path}`).join('');
  print(`test: not declared in test/programs.ts:${lines}`);
  process.exit(1);
}
const found = globSync(positionals.length > 0 ? positionals : 'test/**/*.test.ts', { cwd: root }).sort();
const everyTier = values.all || positionals.length > 0;
const files = found.filter((file) => everyTier || tierOf(file) === 'quick');
if (files.length === 0) {
  print(`test: no such file: ${positionals.join(' ')}`);
  process.exit(1);
}

const scratch = mkdtempSync(join(tmpdir(), 'mint-tests-'));
// Some tests run programs as another user, who has to find them.
chmodSync(scratch, 0o755);
const bin = join(scratch, 'bin');
const startedAt = performance.now();
try {
  linkPrograms(bin, values.without);
  const outcomes: Outcome[] = [];
  for (const tier of tiers) {
    const wanted = files.filter((file) => tierOf(file) === tier);
    if (wanted.length > 0 && !interrupted) outcomes.push(await run(wanted, concurrency(tier), scratch));
  }
  const all: Outcome = {
    good: outcomes.every(({ good }) => good),
    files: outcomes.flatMap((outcome) => outcome.files),
    failures: outcomes.flatMap((outcome) => outcome.failures),
  };
  const failed = [...new Set(all.failures.map(({ file }) => relative(root, file)))];
  const isRepeated = !all.good && !interrupted && failed.length > 0 && failed.length <= mostRepeated;
  const unsteady = isRepeated ? await repeat(all, failed, scratch) : [];
  const left = await endLeftProcesses(bin);
  if (left.length > 0) print(`\ntest: LEFT RUNNING by a test, and killed:\n${left.join('\n')}`);
  const isGood =
    (all.good || (unsteady.length === failed.length && failed.length > 0 && !isCi)) && left.length === 0;

  if (all.files.length > 10) printSlowest(all.files);
  const broken = failed.filter((file) => !unsteady.includes(file));
  if (broken.length > 0) print(`\ntest: failed: ${broken.join(' ')}`);
  if (unsteady.length > 0) print(`\ntest: unsteady: ${unsteady.join(' ')}`);
  const counts = {
    tests: total(all.files, ({ tests }) => tests),
    pass: total(all.files, ({ passed }) => passed),
    fail: total(all.files, (file) => file.failed),
    skipped: total(all.files, ({ skipped }) => skipped),
  };
  print('');
  for (const [name, count] of Object.entries(counts)) print(`ℹ ${name} ${count}`);
  const seconds = ((performance.now() - startedAt) / 1000).toFixed(0);
  print(
    `test: ${isGood ? 'passed' : 'FAILED'}: ${counts.tests} tests in ${all.files.length} files: ${counts.pass} passed, ` +
      `${counts.fail} failed, ${counts.skipped} skipped; ${unsteady.length} files unsteady; ${seconds} s`,
  );
  process.exitCode = isGood ? 0 : 1;
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
