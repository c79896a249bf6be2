/**
 * `npm run soak`: thousands of logins while everything around them breaks.
 *
 *     npm run soak -- [--logins 2000] [--seed 1] [--at-once 8] [--seconds 7200] [--fault NAME] [--record] [--json]
 *
 * `--record` writes the table into docs/reliability.md. The status is 1 where anything was broken.
 */
import { spawnSync } from 'node:child_process';
import { cpus } from 'node:os';
import { parseArgs } from 'node:util';
import { table, writeSection } from '../reliability-page.ts';
import { type SoakResult, soak } from './run.ts';

const { values } = parseArgs({
  options: {
    logins: { type: 'string', default: '2000' },
    seed: { type: 'string', default: '1' },
    fault: { type: 'string' },
    'at-once': { type: 'string', default: '8' },
    seconds: { type: 'string', default: '7200' },
    record: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
  },
});

/** In a mount namespace of its own, where that may be had, so that its small disk is seen by no one else. */
function enterNamespace(): number | undefined {
  if (process.env['MINT_SOAK_NAMESPACE'] !== undefined) return undefined;
  if (spawnSync('unshare', ['-m', 'true']).status !== 0) return undefined;
  const inside = spawnSync('unshare', ['-m', process.execPath, ...process.argv.slice(1)], {
    stdio: 'inherit',
    env: { ...process.env, MINT_SOAK_NAMESPACE: 'yes' },
  });
  return inside.status ?? 1;
}

function report({ rows, missing, logins, seconds, highest, last, broken }: SoakResult): string {
  const codes = (row: SoakResult['rows'][number]) =>
    [...row.codes]
      .sort(([, one], [, other]) => other - one)
      .map(([code, count]) => `${code} ${count}`)
      .join(', ');
  const lines = rows.map((row) => [
    row.fault,
    ...[row.rounds, row.logins, row.intact, row.cut, row.denied, row.killed].map(String),
    codes(row) || '–',
  ]);
  const head = [
    'fault',
    'rounds',
    'logins',
    'intact',
    'cut',
    'denied',
    'ended by us',
    'refused with our code',
  ];
  return [
    `\`npm run soak -- --logins ${values.logins} --seed ${values.seed}\`, ${new Date().toISOString().slice(0, 10)}, ` +
      `Node ${process.versions.node}, ${cpus().length} processors (${cpus()[0]?.model.trim()}): ` +
      `${logins} logins in ${Math.round(seconds / 60)} minutes.`,
    table(head, lines, 6),
    ...[...missing].map(([fault, why]) => `Left out: ${fault} (${why}).`),
    `Broken: ${broken.length === 0 ? 'nothing' : broken.length}. Left over at any look between rounds: no process, no second agent, no file. ` +
      `The agent had at most ${highest.agentMegabytes} MB of its own (${last.agentMegabytes} MB at the end) and ` +
      `${highest.agentDescriptors} descriptors (${last.agentDescriptors} at the end); the directory held at most ` +
      `${highest.files} files (${last.files} at the end).`,
  ].join('\n\n');
}

const outside = enterNamespace();
if (outside !== undefined) process.exitCode = outside;
else {
  let isStopped = false;
  for (const signal of ['SIGINT', 'SIGTERM'] as const)
    process.once(signal, () => {
      isStopped = true;
    });
  const result = await soak({
    isStopped: () => isStopped,
    logins: Number(values.logins),
    seed: Number(values.seed),
    atOnce: Number(values['at-once']),
    only: values.fault,
    seconds: Number(values.seconds),
    note: (line) => void process.stderr.write(`soak: ${line}\n`),
  });
  if (values.json) {
    const rows = result.rows.map(({ codes, ...row }) => ({ ...row, codes: Object.fromEntries(codes) }));
    process.stdout.write(
      `${JSON.stringify({ ...result, rows, missing: Object.fromEntries(result.missing) })}\n`,
    );
  } else process.stdout.write(`${report(result)}\n`);
  for (const line of result.broken) process.stderr.write(`soak: BROKEN ${line}\n`);
  if (values.record && result.broken.length === 0) writeSection('soak', report(result));
  process.exitCode = result.broken.length > 0 ? 1 : 0;
}
