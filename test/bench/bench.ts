/**
 * `npm run bench`: measures the built executable against what people use without it, and writes
 * docs/benchmarks.md. `--short` takes a minute, prints, and writes nothing.
 */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { pushLifetimeMs } from '../../src/agent/credentials/ephemeral-key.ts';
import { mintProgram, type World } from '../openssh/world.ts';
import { type CopyWay, copy, type Direction } from './copies.ts';
import { fourCallers, liveConnections, loginsAtOnce, manyPins } from './crowds.ts';
import { interleave } from './figures.ts';
import { keystrokesBesideCopy } from './keystrokes.ts';
import {
  awsCliLogins,
  coldLogins,
  firstLogins,
  loginWorld,
  type Plan,
  pushLogins,
  spareNames,
  type WarmLogins,
  warmLogins,
} from './logins.ts';
import { type Bulk, type Findings, writeReport } from './report.ts';
import { makeStage, type Stage } from './stage.ts';

const short = process.argv.includes('--short');
const plan: Plan = short
  ? { rounds: 4, pushRounds: 3, coldRounds: 2, roundTrips: [0], apiDelays: [0, 150] }
  : { rounds: 15, pushRounds: 9, coldRounds: 9, roundTrips: [0, 20, 100], apiDelays: [0, 50, 150, 400] };
const sizes = short
  ? {
      bulk: 256e6,
      bulkRounds: 1,
      long: 256e6,
      beside: 256e6,
      atOnce: 20,
      live: 20,
      liveVms: 5,
      pins: 10_000,
      vms: 100,
    }
  : {
      bulk: 2e9,
      bulkRounds: 3,
      long: 10e9,
      beside: 2e9,
      atOnce: 200,
      live: 200,
      liveVms: 50,
      pins: 10_000,
      vms: 1000,
    };

async function measure(stage: Stage): Promise<Findings> {
  const startedAt = performance.now();
  const note = (what: string) =>
    process.stderr.write(
      `bench: ${((performance.now() - startedAt) / 1000).toFixed(0).padStart(4)} s  ${what}\n`,
    );

  // The short run does without the wait: its logins with a push are first logins, which write a pin as well.
  if (!short) note('first logins: later ones find the VM pinned, and its push gone by');
  const world = await loginWorld(stage, plan, []);
  const pushWorlds = new Map<number, World>();
  for (const delay of plan.apiDelays) {
    const pushWorld = await loginWorld(stage, plan, spareNames(plan));
    if (!short) await firstLogins(stage, pushWorld, plan);
    pushWorlds.set(delay, pushWorld);
  }
  const pushesGoneBy = short ? 0 : performance.now() + pushLifetimeMs + 5000;

  note('logins on a warm key');
  const warm = new Map<number | 'usual', WarmLogins>();
  for (const place of [...plan.roundTrips, 'usual' as const])
    warm.set(place, await warmLogins(stage, world, plan, place));
  note('copies');
  const bulk: Bulk[] = [];
  const ways: CopyWay[] = ['ssh direct', 'nc', 'socat nodelay', 'mint-ssh'];
  for (const direction of ['up', 'down'] as const)
    bulk.push(...(await copies(stage, world, ways, direction)));
  note('memory in mid-copy');
  const long = await copy(stage, world, 'mint-ssh', 'both', sizes.long);

  note('keystrokes beside a copy');
  const keystrokes = await keystrokesBesideCopy(stage, world, sizes.beside);

  await sleep(Math.max(0, pushesGoneBy - performance.now()));
  const pushes: Findings['pushes'] = [];
  const cold: Findings['cold'] = [];
  let cli: Findings['cli'];
  for (const [delay, pushWorld] of pushWorlds) {
    note(`logins that need a push, API ${delay} ms`);
    pushWorld.cloud.faults.delayMilliseconds = delay;
    for (const roundTrip of plan.roundTrips)
      pushes.push({ delay, roundTrip, times: await pushLogins(stage, pushWorld, plan, roundTrip) });
    cold.push({ delay, times: await coldLogins(stage, pushWorld, plan) });
    if (delay === 150) cli = await awsCliLogins(stage, pushWorld, plan);
  }

  note(`${sizes.atOnce} logins at once`);
  const atOnce = await loginsAtOnce(stage, world, sizes.atOnce, short ? 1 : 2);
  note(`${sizes.pins} pins and ${sizes.vms} VMs`);
  const pins = await manyPins(stage, plan.rounds, sizes);
  note(`${sizes.live} live connections`);
  const live = await liveConnections(stage, sizes.live, sizes.liveVms);
  const callers = await fourCallers(stage);
  note('done');
  return {
    plan,
    sizes,
    warm,
    pushes,
    cold,
    cli,
    bulk,
    long,
    keystrokes,
    atOnce,
    live,
    callers,
    pins,
    seconds: (performance.now() - startedAt) / 1000,
  };
}

async function copies(stage: Stage, world: World, ways: CopyWay[], direction: Direction): Promise<Bulk[]> {
  const results = ways.map((way): Bulk => ({ way, direction, rates: [], processor: [] }));
  const one = (result: Bulk) => async () => {
    const { rate, processor } = await copy(stage, world, result.way, direction, sizes.bulk);
    result.rates.push(rate);
    result.processor.push(processor);
    return rate;
  };
  const each = Object.fromEntries(results.map((result) => [result.way, one(result)]));
  await interleave(sizes.bulkRounds, each, 0);
  return results;
}

/** What only the measurements need, and the tests do not. */
function prepare(): void {
  if (!existsSync(mintProgram)) throw new Error(`${mintProgram} is not there: npm run build`);
  for (const [program, packages] of [
    ['nc', 'netcat-openbsd'],
    ['socat', 'socat'],
  ] as const) {
    if (spawnSync('which', [program], { stdio: 'ignore' }).status === 0) continue;
    const install = spawnSync('apt-get', ['install', '-q', '-y', '--no-install-recommends', packages], {
      stdio: 'inherit',
    });
    if (install.status !== 0) throw new Error(`${program} is missing: apt-get install ${packages}`);
  }
}

prepare();
const stage = await makeStage(plan.roundTrips);
// An interrupt must leave no sshd and no agent behind.
for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.once(signal, () => void stage.end().finally(() => process.exit(1)));
try {
  writeReport(await measure(stage), { print: short });
} catch (error) {
  // Said first: what it leaves behind makes the end fail as well.
  process.stderr.write(`bench: ${error}\n`);
  process.exitCode = 1;
} finally {
  await stage.end();
}
