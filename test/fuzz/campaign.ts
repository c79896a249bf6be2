/**
 * `npm run fuzz`: fuzzes one target after the other, each in a process of its own.
 *
 *     npm run fuzz -- [--target NAME] [--seconds 30] [--seed 1] [--record]
 *
 * `--record` writes the figures into docs/reliability.md. The status is 1 where anything was found.
 */
import { spawnSync } from 'node:child_process';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { table, writeSection } from '../reliability-page.ts';
import type { ModuleCoverage } from './coverage.ts';
import { targets } from './targets.ts';

interface Outcome {
  readonly executions: number;
  readonly kept: number;
  readonly findings: readonly { readonly file: string; readonly bytes: number; readonly error: string }[];
}

const { values } = parseArgs({
  options: {
    target: { type: 'string' },
    seconds: { type: 'string', default: '30' },
    seed: { type: 'string', default: '1' },
    record: { type: 'boolean', default: false },
  },
});
const names = targets
  .map(({ name }) => name)
  .filter((name) => values.target === undefined || name === values.target);
if (names.length === 0) throw new Error(`the targets are ${targets.map(({ name }) => name).join(', ')}`);

function program<T>(name: string, ...words: readonly string[]): T | undefined {
  const { status, stdout } = spawnSync(
    process.execPath,
    [join(import.meta.dirname, 'programs', name), ...words],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
      encoding: 'utf8',
    },
  );
  return status === 0 ? (JSON.parse(stdout) as T) : undefined;
}

const percent = (part: number, whole: number) =>
  whole === 0 ? '–' : `${((100 * part) / whole).toFixed(1)} %`;
const rows: string[][] = [];
let found = 0;
for (const name of names) {
  const outcome = program<Outcome>('fuzz-target.ts', name, values.seconds, values.seed);
  const modules = program<(ModuleCoverage & { module: string })[]>('replay-target.ts', name) ?? [];
  for (const { file, bytes, error } of outcome?.findings ?? [])
    process.stderr.write(`fuzz: ${name}: ${bytes} bytes in ${file}\n${error}\n`);
  const count = outcome?.findings.length ?? 1;
  found += count;
  const sum = (field: keyof ModuleCoverage) => modules.reduce((all, module) => all + (module[field] ?? 0), 0);
  rows.push([
    name,
    outcome?.executions.toLocaleString('en') ?? 'it did not end',
    String(outcome?.kept ?? 0),
    percent(sum('functionsRun'), sum('functions')),
    percent(sum('branchesRun'), sum('branches')),
    String(count),
  ]);
  process.stderr.write(`fuzz: ${rows.at(-1)?.join('  ')}\n`);
}
const head = ['target', 'executions', 'corpus', 'functions', 'branches', 'findings'];
const text = table(head, rows);
process.stdout.write(`${text}\n`);
if (values.record) {
  const date = new Date().toISOString().slice(0, 10);
  const how = `\`npm run fuzz -- --seconds ${values.seconds} --seed ${values.seed}\``;
  writeSection(
    'fuzz',
    `${how}, ${date}, Node ${process.versions.node}, ${cpus()[0]?.model.trim()}:\n\n${text}`,
  );
}
process.exitCode = found > 0 ? 1 : 0;
