/** Logins by the round, each round with one fault, and a login after it that has to work. */
import { setTimeout as sleep } from 'node:timers/promises';
import { type Fault, faults } from './faults.ts';
import { Leak, lookForLeaks, type Tide } from './leaks.ts';
import { type Outcome, startLogin } from './login.ts';
import { makeRandom, type Random } from './random.ts';
import { makeStage, type Stage, vms } from './stage.ts';

export interface SoakOptions {
  readonly logins: number;
  readonly seed: number;
  /** A round has from one to so many. */
  readonly atOnce: number;
  /** The one fault that there is; undefined for all of them. */
  readonly only: string | undefined;
  /** No round begins later, in seconds. */
  readonly seconds: number;
  readonly note: (line: string) => void;
  /** Someone wants it to end: the round is finished, and everything put away. */
  readonly isStopped: () => boolean;
}

/** What came of the logins that had one fault. */
export interface Row {
  readonly fault: string;
  rounds: number;
  logins: number;
  intact: number;
  cut: number;
  denied: number;
  killed: number;
  readonly codes: Map<string, number>;
}

export interface SoakResult {
  readonly logins: number;
  readonly seconds: number;
  readonly rows: readonly Row[];
  readonly missing: ReadonlyMap<string, string>;
  readonly highest: Tide;
  readonly last: Tide;
  /** What must not have been. */
  readonly broken: readonly string[];
}

/** Rounds between two looks for leaks. */
const lookEvery = 10;
const afterwards = 'none, right after a fault';

export async function soak({
  logins,
  seed,
  atOnce: most,
  only,
  seconds,
  note,
  isStopped,
}: SoakOptions): Promise<SoakResult> {
  const random = makeRandom(seed);
  const stage = await makeStage();
  const missing = new Map(
    faults.flatMap(({ name, missing: why }) => [[name, why?.(stage)] as const]).filter(isMissing),
  );
  const possible = faults.filter(({ name }) => !missing.has(name) && name === (only ?? name));
  if (possible.length === 0) throw new Error(`the faults are: ${faults.map(({ name }) => name).join(', ')}`);
  const rows = new Map([...possible.map(({ name }) => name), afterwards].map((name) => [name, newRow(name)]));
  const broken: string[] = [];
  let highest: Tide = { agentDescriptors: 0, agentMegabytes: 0, files: 0 };
  let last = highest;
  const startedAt = performance.now();
  const passed = () => (performance.now() - startedAt) / 1000;
  let done = 0;
  const count = (name: string, allowed: (outcome: Outcome) => boolean, outcomes: readonly Outcome[]) => {
    const row = rows.get(name) ?? newRow(name);
    row.rounds += 1;
    for (const outcome of outcomes) {
      done += 1;
      row.logins += 1;
      if (outcome.kind !== 'code' && outcome.kind !== 'broken') row[outcome.kind] += 1;
      if (outcome.kind === 'code') row.codes.set(outcome.code, (row.codes.get(outcome.code) ?? 0) + 1);
      if (outcome.kind === 'code') note(`${name}: ${outcome.code}: ${outcome.message}`);
      if (!allowed(outcome)) {
        broken.push(`${name}: login ${done}: ${JSON.stringify(outcome)}`);
        note(`BROKEN ${broken.at(-1)}`);
      }
    }
  };
  const look = async () => {
    try {
      last = await lookForLeaks(stage);
      highest = {
        agentDescriptors: Math.max(highest.agentDescriptors, last.agentDescriptors),
        agentMegabytes: Math.max(highest.agentMegabytes, last.agentMegabytes),
        files: Math.max(highest.files, last.files),
      };
    } catch (error) {
      if (!(error instanceof Leak)) throw error;
      broken.push(`after ${done} logins: ${error.message}`);
      note(`LEAK ${broken.at(-1)}`);
    }
  };

  try {
    for (const vm of vms)
      count('none', isIntact, [await startLogin(stage.world, vm, payload(random)).outcome]);
    const isDone = (round: number) => (done >= logins && round > possible.length) || passed() >= seconds;
    for (let round = 1; !isDone(round) && !isStopped(); round += 1) {
      // Each of them once, then by their shares.
      const fault = possible[round - 1] ?? choose(possible, random);
      const atOnce = 1 + random.below(most);
      count(fault.name, allowedBy(fault), await logInWith(stage, fault, atOnce, random));
      if (fault.name !== 'none') {
        const vm = random.pick(vms);
        count(afterwards, isIntact, [await startLogin(stage.world, vm, payload(random)).outcome]);
      }
      if (round % lookEvery === 0) {
        await look();
        note(
          `${done} logins in ${passed().toFixed(0)} s, ${broken.length} broken; agent ${last.agentMegabytes} MB, ` +
            `${last.agentDescriptors} descriptors; ${last.files} files`,
        );
      }
    }
    await look();
  } finally {
    await stage.end().catch((error: Error) => {
      broken.push(`at the end: ${error.message}`);
    });
  }
  return { logins: done, seconds: passed(), rows: [...rows.values()], missing, highest, last, broken };
}

async function logInWith(stage: Stage, fault: Fault, count: number, random: Random): Promise<Outcome[]> {
  const end = await fault.begin(stage, random);
  try {
    const logins = Array.from({ length: count }, () =>
      startLogin(stage.world, random.pick(vms), payload(random), fault.wrap?.(random)),
    );
    const during = fault.during?.(stage, random, logins);
    const outcomes = await Promise.all(logins.map(({ outcome }) => outcome));
    await during;
    return outcomes;
  } finally {
    await end();
    await sleep(0);
  }
}

function isIntact({ kind }: Outcome): boolean {
  return kind === 'intact';
}

function allowedBy({ name, may = [] }: Fault): (outcome: Outcome) => boolean {
  if (name === 'none') return isIntact;
  return ({ kind }) => kind === 'intact' || kind === 'code' || may.includes(kind);
}

function choose(from: readonly Fault[], random: Random): Fault {
  const whole = from.reduce((sum, { share }) => sum + share, 0);
  let left = random.below(whole);
  for (const fault of from) {
    left -= fault.share;
    if (left < 0) return fault;
  }
  return random.pick(from);
}

/** Up to 256 KiB of what a seed gives. */
function payload(random: Random): Buffer {
  const bytes = Buffer.alloc(1 + random.below(random.below(4) === 0 ? 1 << 18 : 4096));
  for (let at = 0; at < bytes.length; at += 1) bytes[at] = random.below(256);
  return bytes;
}

function newRow(fault: string): Row {
  return { fault, rounds: 0, logins: 0, intact: 0, cut: 0, denied: 0, killed: 0, codes: new Map() };
}

function isMissing(entry: readonly [string, string | undefined]): entry is readonly [string, string] {
  return entry[1] !== undefined;
}
