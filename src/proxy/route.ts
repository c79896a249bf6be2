/** All the ways to a VM, the better ones first: the first that leads there is taken. */
import { isIP } from 'node:net';
import { MintError } from '../errors.ts';
import type { Candidate } from '../vms/candidates.ts';
import type { EarlyDial } from './early-dial.ts';
import { connectServer, type End } from './end.ts';
import type { Guide } from './guide.ts';
import { AllFailed, type Contender, race } from './race.ts';
import { dialHint, reasonOf } from './unreachable.ts';

/** Between two addresses of one kind, in milliseconds: RFC 8305 §8. */
const addressHeadStart = 250;
/**
 * What the public address has before the private one is dialled, in milliseconds. More than a distant VM takes to
 * answer: the same private address may be another machine's in the network where this one is.
 */
const publicHeadStart = 1000;
/** What the addresses have before a tunnel is opened, in milliseconds. */
const addressesHeadStart = 500;

/** What it takes to go there. */
export interface Journey {
  readonly vm: string;
  readonly candidates: readonly Candidate[];
  readonly port: number;
  /** How long it may take, in milliseconds. */
  readonly limit: number;
  /** Asks for a tunnel, where there is no better way. */
  readonly tunnel: Guide['tunnel'];
  /** What was dialled before it was known where to. */
  readonly early: EarlyDial | undefined;
}

export interface Arrival {
  readonly server: End;
  readonly way: Candidate;
}

/** @throws MintError `dial-failed`, and where a tunnel is the only way, what the agent says of it */
export async function travel(journey: Journey): Promise<Arrival> {
  try {
    return await goBestWay(journey);
  } finally {
    journey.early?.discard();
  }
}

async function goBestWay(journey: Journey): Promise<Arrival> {
  const { candidates } = journey;
  const [only] = candidates;
  // What nearly every connection is: one address, and nothing to choose.
  if (candidates.length === 1 && only !== undefined && isIP(only.host) !== 0 && only.kind !== 'endpoint') {
    return { server: await dial(journey, only.host), way: only };
  }
  const contenders = candidates.length === 1 && only?.kind !== 'endpoint' ? byName(journey) : byWay(journey);
  try {
    return await race(await contenders, ({ server }) => server.destroy());
  } catch (error) {
    throw error instanceof AllFailed ? unreachable(journey, error.failures) : error;
  }
}

async function byWay(journey: Journey): Promise<Contender<Arrival>[]> {
  return journey.candidates.map((way, at) => ({
    headStart: at === 0 ? 0 : headStart(journey.candidates[at - 1], way),
    start: async (signal) => ({
      server: way.kind === 'endpoint' ? await tunnel(journey, signal) : await dial(journey, way.host, signal),
      way,
    }),
  }));
}

function headStart(before: Candidate | undefined, { kind }: Candidate): number {
  if (kind === 'endpoint') return addressesHeadStart;
  return kind === before?.kind ? addressHeadStart : publicHeadStart;
}

/** The addresses of a host name, one family after the other in turn: RFC 8305 §4. */
async function byName(journey: Journey): Promise<Contender<Arrival>[]> {
  const [way] = journey.candidates;
  if (way === undefined) return [];
  const { lookup } = process.getBuiltinModule('node:dns').promises;
  const found = await lookup(way.host, { all: true }).catch((cause: NodeJS.ErrnoException) => {
    throw cannotReach(journey, way.host, cause);
  });
  const first = found.filter(({ family }) => family === found[0]?.family);
  const second = found.filter(({ family }) => family !== found[0]?.family);
  const inTurn = found.flatMap((_, at) => [first[at], second[at]].filter((one) => one !== undefined));
  return inTurn.map(({ address }, at) => ({
    headStart: at === 0 ? 0 : addressHeadStart,
    start: async (signal) => ({ server: await dial(journey, address, signal), way }),
  }));
}

async function dial(journey: Journey, host: string, signal?: AbortSignal): Promise<End> {
  const address = { host, port: journey.port };
  try {
    const early = await journey.early?.take(address, signal);
    return early ?? (await connectServer(address, Math.max(1, journey.limit), signal));
  } catch (cause) {
    throw cannotReach(journey, host, cause as NodeJS.ErrnoException);
  }
}

/** What it takes is asked for and loaded now. */
async function tunnel(journey: Journey, signal: AbortSignal): Promise<End> {
  const { vm, port, limit } = journey;
  const startedAt = performance.now();
  const [found, { openTunnel }] = await Promise.all([journey.tunnel(), import('./tunnel.ts')]);
  signal.throwIfAborted();
  const left = limit - (performance.now() - startedAt);
  return await openTunnel(found, { vm, port, limit: left, signal });
}

function cannotReach({ vm, port }: Journey, host: string, cause: NodeJS.ErrnoException): MintError {
  return new MintError('dial-failed', `cannot reach ${vm} at ${host} port ${port}: ${reasonOf(cause)}`, {
    hint: dialHint(cause.code),
    cause,
  });
}

/** One failure is told as it is; of several, the first one's hint is what most often helps. */
function unreachable({ vm }: Journey, failures: readonly unknown[]): unknown {
  const [first, ...others] = failures;
  if (others.length === 0 || !(first instanceof MintError)) return first;
  const all = failures.map((failure) => told(vm, failure));
  return new MintError('dial-failed', `cannot reach ${vm}: ${[...new Set(all)].join('; ')}`, {
    hint: first.hint,
    cause: first,
  });
}

function told(vm: string, failure: unknown): string {
  const message = failure instanceof Error ? failure.message : String(failure);
  return message.replace(`cannot reach ${vm}: `, '').replace(`cannot reach ${vm} `, '');
}
