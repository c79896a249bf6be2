/** docs/benchmarks.md and its plot, from what was measured. */
import { execFileSync, spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';
import { join } from 'node:path';
import type { Copy, CopyWay, Direction } from './copies.ts';
import type { AtOnce, LiveConnections } from './crowds.ts';
import { median, spread } from './figures.ts';
import type { Keystrokes } from './keystrokes.ts';
import type { Plan, Times, WarmLogins } from './logins.ts';
import { plot } from './plot.ts';

export interface Bulk {
  readonly way: CopyWay;
  readonly direction: Direction;
  /** Megabytes a second, and seconds of the proxy's processor time; one value a round. */
  readonly rates: number[];
  readonly processor: number[];
}

export interface Findings {
  readonly plan: Plan;
  readonly sizes: {
    readonly bulk: number;
    readonly long: number;
    readonly pins: number;
    readonly vms: number;
  };
  readonly warm: ReadonlyMap<number | 'usual', WarmLogins>;
  readonly pushes: { readonly delay: number; readonly roundTrip: number; readonly times: Times }[];
  readonly cold: { readonly delay: number; readonly times: readonly number[] }[];
  readonly cli: { readonly cli: readonly number[]; readonly version: string } | undefined;
  readonly bulk: readonly Bulk[];
  readonly long: Copy;
  readonly keystrokes: Keystrokes;
  readonly atOnce: AtOnce;
  readonly live: LiveConnections;
  /** Of an agent that four callers with different credentials have used, in megabytes. */
  readonly callers: number;
  readonly pins: { readonly few: readonly number[]; readonly many: readonly number[] };
  readonly seconds: number;
}

const docs = join(import.meta.dirname, '../../docs');
const warmName = 'mint-ssh, key warm';
const pushName = 'mint-ssh, push needed';

/** Writes both files; with `print`, only shows the text. */
export function writeReport(findings: Findings, { print }: { readonly print: boolean }): void {
  const text = report(findings);
  if (print) {
    process.stdout.write(text);
    return;
  }
  writeFileSync(join(docs, 'benchmarks.md'), text);
  writeFileSync(join(docs, 'benchmarks.svg'), bars(findings));
}

function report(findings: Findings): string {
  const { plan, seconds } = findings;
  return `# Benchmarks

\`\`\`sh
npm run build
npm run bench
\`\`\`

writes this page: the built executable against what people use without it, in one run of ${Math.round(seconds / 60)} minutes on one
machine, the ways taken in turn. Logins are \`ssh VM true\` from the start of ssh to its end, against a real sshd on loopback; the
account's shell has no start-up files, and a relay simulates distance. Figures are medians, with the range of the middle
80 % in parentheses; \`nc\` and \`socat\` are ProxyCommands with a key of their own. What counts are ratios and differences within the run.

${machine()}

![Login times](benchmarks.svg)

## Against the targets

${targets(findings)}

## Logins with a warm key, in milliseconds

${warmTable(findings)}

The last column leaves the key exchange to sshd's and ssh's own default; in the others it is curve25519-sha256.
The start of Node alone, \`node -e 0\`, took ${shown([...findings.warm.values()].flatMap(({ node }) => node))} ms meanwhile.

## Logins that need a push, in milliseconds

${pushTable(findings)}

${findings.cli === undefined ? 'The AWS CLI is not installed here, so its one-liner (push, then nc) was not measured.' : `The one-liner of the AWS CLI (\`${findings.cli.version}\`; push, then nc), with the API at 150 ms: ${shown(findings.cli.cli)} ms.`}

## Where the limit is

${limits(findings)}

## Copies

${bulkTable(findings)}

One way with ${gigabytes(findings.sizes.bulk)} of zeros over aes128-gcm; processor time is that of the ProxyCommand alone.

## Not measured

Mint's own shell ProxyCommand: it needs Mint and its AWS account.
Rounds: ${plan.rounds} of warm logins, ${plan.pushRounds} of those with a push, ${plan.coldRounds} without an agent.
`;
}

function targets(findings: Findings): string {
  const { plan, warm, pushes, cold, cli, bulk, long, keystrokes, atOnce, live, callers, pins, sizes } =
    findings;
  const near = warm.get(0);
  if (near === undefined) throw new Error('the bench needs a round trip of 0');
  const node = median(near.node);
  const rows: [what: string, target: string, measured: string, met: boolean][] = [];
  for (const roundTrip of plan.roundTrips) {
    const here = warm.get(roundTrip);
    const ours = median(here?.times[warmName] ?? []);
    const limit = median(here?.times['socat nodelay'] ?? []) + median(here?.node ?? []) + 8;
    rows.push([
      `key warm, round trip ${roundTrip} ms`,
      `≤ socat + Node + 8 = ${ms(limit)}`,
      ms(ours),
      ours <= limit,
    ]);
  }
  for (const { delay, roundTrip, times } of pushes) {
    const authentication = warm.get(roundTrip)?.authentication ?? 0;
    const ours = median(times[pushName] ?? []);
    const limit = Math.max(median(times[warmName] ?? []), node + delay + authentication) + 15;
    rows.push([
      `push needed, API ${delay} ms, round trip ${roundTrip} ms`,
      `≤ ${ms(limit)}`,
      ms(ours),
      ours <= limit,
    ]);
  }
  for (const { delay, times } of cold) {
    const push = pushes.find((each) => each.delay === delay && each.roundTrip === 0);
    const limit = median(push?.times[pushName] ?? []) + 150;
    rows.push([
      `no agent running, API ${delay} ms`,
      `≤ the row with a push + 150 = ${ms(limit)}`,
      ms(median(times)),
      median(times) <= limit,
    ]);
  }
  if (cli !== undefined) {
    const push = pushes.find((each) => each.delay === 150 && each.roundTrip === 0);
    const ratio = median(cli.cli) / median(push?.times[pushName] ?? []);
    rows.push(['AWS CLI one-liner / ours, API 150 ms', '≥ 2.5', ratio.toFixed(1), ratio >= 2.5]);
  }
  for (const direction of ['up', 'down'] as const) {
    const of = (way: CopyWay) => bulk.find((each) => each.way === way && each.direction === direction);
    const [ours, nc] = [of('mint-ssh'), of('nc')];
    const rate = median(ours?.rates ?? []) / median(nc?.rates ?? []);
    const processor = median(ours?.processor ?? []) / median(nc?.processor ?? []);
    rows.push([`copy ${direction}, throughput / nc's`, '≥ 0.95', rate.toFixed(2), rate >= 0.95]);
    rows.push([`copy ${direction}, processor time / nc's`, '≤ 1.5', processor.toFixed(2), processor <= 1.5]);
  }
  const { most, early, late } = long.memory;
  rows.push(['memory of a proxy, copying both ways', '≤ 15 MB', `${most.toFixed(1)} MB at most`, most <= 15]);
  rows.push([
    `its growth over ${gigabytes(sizes.long)} each way`,
    'none',
    `${early.toFixed(1)} → ${late.toFixed(1)} MB`,
    late <= early * 1.05,
  ]);
  const felt = median(keystrokes.mint) - median(keystrokes.nc);
  rows.push([
    `a keystroke there and back beside a copy, against nc (${keystrokes.mint.length} each)`,
    '≤ 1 ms more',
    `${felt.toFixed(2)} ms more (${median(keystrokes.mint).toFixed(2)} / ${median(keystrokes.nc).toFixed(2)})`,
    felt <= 1,
  ]);
  rows.push([
    'agent that four callers with different AWS credentials have used',
    '≤ 60 MB',
    `${callers.toFixed(1)} MB`,
    callers <= 60,
  ]);
  rows.push([
    `agent with ${live.count} live connections, ${live.vms} VMs`,
    '≤ 80 MB',
    `${live.during.toFixed(1)} MB`,
    live.during <= 80,
  ]);
  rows.push([
    'the same afterwards',
    'within 10 % of before',
    `${live.before.toFixed(1)} → ${live.after.toFixed(1)} MB`,
    live.after <= live.before * 1.1,
  ]);
  const wall = median(atOnce.mint) / median(atOnce.nc);
  rows.push([`${atOnce.count} logins at once that fail`, 'none', String(atOnce.failed), atOnce.failed === 0]);
  rows.push([
    `${atOnce.count} logins at once, wall time / nc's`,
    '≤ 1.4',
    `${wall.toFixed(2)} (${ms(median(atOnce.mint))} / ${ms(median(atOnce.nc))})`,
    wall <= 1.4,
  ]);
  rows.push([`pushes for them`, '≤ 2', String(atOnce.pushes), atOnce.pushes <= 2]);
  const more = median(pins.many) - median(pins.few);
  rows.push([
    `${sizes.pins.toLocaleString('en')} pins and ${sizes.vms.toLocaleString('en')} VMs against 10`,
    '≤ 15 ms more',
    `${ms(more)} more`,
    more <= 15,
  ]);
  return table(
    ['', 'target', 'measured', ''],
    rows.map(([what, target, measured, met]) => [what, target, measured, met ? 'met' : '**not met**']),
  );
}

/** What no ProxyCommand that runs on Node can be faster than, beside what ours takes. */
function limits({ warm, atOnce }: Findings): string {
  const near = warm.get(0)?.times ?? {};
  const nc = median(near['nc'] ?? []);
  const more = (name: string) => ms(median(near[name] ?? []) - nc);
  const ratio = (values: readonly number[]) => (median(values) / median(atOnce.nc)).toFixed(2);
  return `\`nc behind Node\` is \`nc\` started once \`node -e 0\` has ended, with the options of our executable: no code of ours,
no key exchange read, no agent asked. That alone costs ${more('nc behind Node')} more than nc in a login on a warm key (ours:
${more(warmName)}) and makes ${atOnce.count} logins at once take ${ratio(atOnce.floor)} times as long as nc does (ours: ${ratio(atOnce.mint)});
there all processors are busy, and what counts is processor time.

A login that finds no agent waits for two starts of Node one after the other, the proxy's and the agent's. Then the
agent loads its own code, evaluates the SDK (about 20 ms) and sends the push. Nothing of this can overlap: the public
key exists only in the agent, and the agent runs only once the proxy has started it.`;
}

function warmTable({ warm }: Findings): string {
  const places = [...warm.keys()];
  const names = Object.keys(warm.get(0)?.times ?? {});
  const head = places.map((place) => (place === 'usual' ? 'default key exchange' : `round trip ${place} ms`));
  return table(
    ['', ...head],
    names.map((name) => [name, ...places.map((place) => shown(warm.get(place)?.times[name] ?? []))]),
  );
}

function pushTable({ plan, pushes, cold }: Findings): string {
  const rows = plan.apiDelays.map((delay) => [
    `API ${delay} ms`,
    ...pushes.filter((each) => each.delay === delay).map(({ times }) => shown(times[pushName] ?? [])),
    shown(cold.find((each) => each.delay === delay)?.times ?? []),
  ]);
  return table(
    ['', ...plan.roundTrips.map((time) => `round trip ${time} ms`), 'no agent running, round trip 0 ms'],
    rows,
  );
}

function bulkTable({ bulk }: Findings): string {
  const rows = bulk.map(({ way, direction, rates, processor }) => [
    `${direction}, ${way}`,
    median(rates).toFixed(0),
    way === 'ssh direct' ? '' : median(processor).toFixed(2),
  ]);
  return table(['', 'MB/s', 'processor time, s'], rows);
}

function bars({ plan, warm, pushes }: Findings): string {
  const groups = plan.roundTrips.map((roundTrip) => ({
    title: `round trip ${roundTrip} ms`,
    bars: [
      ...Object.entries(warm.get(roundTrip)?.times ?? {}).map(([name, values]) => ({
        name,
        ...spread(values),
      })),
      ...pushes
        .filter((each) => each.roundTrip === roundTrip)
        .map(({ delay, times }) => ({
          name: `mint-ssh, push, API ${delay} ms`,
          ...spread(times[pushName] ?? []),
        })),
    ],
  }));
  return plot('From Enter to command done, in milliseconds', groups);
}

function machine(): string {
  const first = (program: string, ...args: string[]) => {
    const { stdout, stderr } = spawnSync(program, args, { encoding: 'utf8', timeout: 5000 });
    return `${stdout}${stderr}`.trim().split('\n')[0] ?? '';
  };
  const socat = /socat version (\S+)/.exec(execFileSync('socat', ['-V'], { encoding: 'utf8' }))?.[1];
  const nc = first('dpkg-query', '-W', '-f', '$' + '{Version}', 'netcat-openbsd');
  return [
    `- ${cpus().length} × ${cpus()[0]?.model}, ${Math.round(totalmem() / 2 ** 30)} GB, Linux ${release()}, ${new Date().toISOString().slice(0, 10)}`,
    `- ${first('ssh', '-V')}; Node ${process.versions.node}; socat ${socat}; netcat-openbsd ${nc}`,
  ].join('\n');
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  return [head, head.map(() => '---'), ...rows].map((row) => `| ${row.join(' | ')} |`).join('\n');
}

function shown(values: readonly number[]): string {
  const { median: middle, low, high } = spread(values);
  return `${middle.toFixed(0)} (${low.toFixed(0)}–${high.toFixed(0)})`;
}

function ms(value: number): string {
  return `${value.toFixed(0)} ms`;
}

function gigabytes(bytes: number): string {
  return bytes >= 1e9 ? `${bytes / 1e9} GB` : `${bytes / 1e6} MB`;
}
