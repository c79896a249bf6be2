/** Many at once: logins, live connections, and pins. */

import { generateKeyPairSync } from 'node:crypto';
import { appendFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseHostKey } from '../../src/ssh/hostkey.ts';
import { publicKeyBlob } from '../../src/ssh/key-encoding.ts';
import { megabytes } from '../agent/memory.ts';
import type { Child, World } from '../openssh/world.ts';
import { interleave } from './figures.ts';
import { mint, pipeOptions } from './logins.ts';
import type { Stage } from './stage.ts';

export interface AtOnce {
  readonly count: number;
  /** Wall time until the last is done, in milliseconds, one value a round. */
  readonly nc: readonly number[];
  /** nc behind a start of Node: less than that no ProxyCommand on Node can take. */
  readonly floor: readonly number[];
  readonly mint: readonly number[];
  /** The most that a round needed. */
  readonly pushes: number;
  /** Logins of ours that failed, in all rounds. */
  readonly failed: number;
}

/**
 * Starts a command COUNT times at once and waits for all: its status is how many of them failed. A shell forks faster
 * than this process could, which has the API to answer meanwhile.
 */
const startAll = `count=$1 failed=0 all=; shift
while [ "$count" -gt 0 ]; do "$@" & all="$all $!"; count=$((count - 1)); done
for one in $all; do wait "$one" || failed=$((failed + 1)); done
[ "$failed" -eq 0 ] || { echo "$failed failed" >&2; exit 1; }`;

/** Logins to one VM, all started in the same moment. */
export async function loginsAtOnce(
  stage: Stage,
  world: World,
  count: number,
  rounds: number,
): Promise<AtOnce> {
  const wall = async (args: readonly string[], failure: (reason: Error) => void) => {
    const startedAt = performance.now();
    const words = ['-c', startAll, 'sh', String(count), 'ssh', ...args];
    await stage.run('sh', words, world).catch(failure);
    return performance.now() - startedAt;
  };
  const mustSucceed = (reason: Error) => {
    throw reason;
  };
  let pushes = 0;
  let failed = 0;
  const times = await interleave(
    rounds,
    {
      nc: () => wall(stage.plain(stage.port(0), pipeOptions('nc', stage.port(0)), 'true'), mustSucceed),
      floor: () =>
        wall(stage.plain(stage.port(0), pipeOptions('nc behind Node', stage.port(0)), 'true'), mustSucceed),
      mint: async () => {
        const before = world.cloud.pushes.length;
        const time = await wall(mint(world, 'rtt-0'), (reason) => {
          failed += Number(/(\d+) failed\s*$/.exec(reason.message)?.[1] ?? count);
          process.stderr.write(`bench: ${reason.message.slice(-1000)}\n`);
        });
        pushes = Math.max(pushes, world.cloud.pushes.length - before);
        return time;
      },
    },
    0,
  );
  return { count, ...times, pushes, failed };
}

export interface LiveConnections {
  readonly count: number;
  readonly vms: number;
  /** Of the agent, private dirty, in megabytes. */
  readonly before: number;
  readonly during: number;
  readonly after: number;
}

export async function liveConnections(stage: Stage, count: number, vms: number): Promise<LiveConnections> {
  const names = Array.from({ length: vms }, (_, index) => `live-${index}`);
  const world = await stage.world({
    vms: Object.fromEntries(names.map((name) => [name, { port: stage.port(0) }])),
  });
  const agent = () => megabytes(world.agents()[0]?.pid ?? 0);
  // Each VM once: its socket, its pin and the SDK exist without connections too.
  for (const name of names) await stage.run('ssh', mint(world, name), world);
  await sleep(1000);
  const before = agent();
  const sessions: Child[] = [];
  for (let begun = 0; begun < count; begun += 10) {
    const batch = Array.from({ length: Math.min(10, count - begun) }, (_, index) =>
      world.startSsh(mint(world, names[(begun + index) % vms] ?? '', [], 'echo in; exec cat').slice(2), {
        holdInput: true,
        timeout: 300_000,
      }),
    );
    await Promise.all(batch.map((session) => session.until(/in/, 60_000)));
    sessions.push(...batch);
  }
  await sleep(1000);
  const during = agent();
  for (const session of sessions) session.stdin.end();
  await Promise.all(sessions.map((session) => session.done));
  await sleep(3000);
  return { count, vms, before, during, after: agent() };
}

/** What an agent holds that four callers with different AWS credentials have used, in megabytes. */
export async function fourCallers(stage: Stage): Promise<number> {
  const world = await stage.world({ vms: { dev: { port: stage.port(0) } } });
  for (const name of ['ANNA', 'BERT', 'CARL', 'DORA']) {
    const id = `AKIA${name.padEnd(16, 'X')}`;
    const secret = `secret-of-${name}-${'x'.repeat(24)}`;
    world.cloud.accessKeys.set(id, { secret });
    const environment = { ...world.environment, AWS_ACCESS_KEY_ID: id, AWS_SECRET_ACCESS_KEY: secret };
    await stage.run('ssh', mint(world, 'dev'), { environment });
  }
  await sleep(1000);
  return megabytes(world.agents()[0]?.pid ?? 0);
}

/** A login where few names are known, and where very many are. */
export async function manyPins(stage: Stage, rounds: number, { pins, vms }: { pins: number; vms: number }) {
  const make = async (vmCount: number, pinCount: number) => {
    const names = Array.from({ length: vmCount }, (_, index) => `vm-${index}`);
    const world = await stage.world({
      vms: Object.fromEntries(names.map((name) => [name, { port: stage.port(0) }])),
    });
    const key = parseHostKey(publicKeyBlob(generateKeyPairSync('ed25519').publicKey));
    const lines = Array.from({ length: pinCount }, (_, index) => `other-${index}=${key.fingerprint}\n`);
    appendFileSync(join(world.configDir, 'known_hosts'), lines.join(''), { mode: 0o600 });
    return async () => (await stage.run('ssh', mint(world, 'vm-0'), world)).milliseconds;
  };
  const [few, many] = [await make(10, 10), await make(vms, pins)];
  return await interleave(rounds, { few, many });
}
