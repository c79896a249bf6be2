/** The delay of a keystroke while a copy runs: one byte there and back. */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import type { World } from '../openssh/world.ts';
import { copy } from './copies.ts';
import { mint, pipeOptions } from './logins.ts';
import type { Stage } from './stage.ts';

/** Milliseconds, one value a keystroke. */
export interface Keystrokes {
  readonly nc: readonly number[];
  readonly mint: readonly number[];
}

/** Between two keystrokes, in milliseconds. */
const pace = 10;

/** Types into two sessions in turn, one through nc and one through mint-ssh, as long as a copy through mint-ssh takes. */
export async function keystrokesBesideCopy(stage: Stage, world: World, bytes: number): Promise<Keystrokes> {
  const command = 'exec cat';
  const environment = { ...process.env, ...world.environment };
  const sessions = {
    nc: spawn('ssh', stage.plain(stage.port(0), pipeOptions('nc', stage.port(0)), command)),
    mint: spawn('ssh', mint(world, 'rtt-0', [], command), { env: environment }),
  };
  const times = { nc: [] as number[], mint: [] as number[] };
  try {
    // The first byte is back once the session is established.
    for (const session of Object.values(sessions)) await keystroke(session);
    let copying = true;
    const copied = copy(stage, world, 'mint-ssh', 'both', bytes).finally(() => {
      copying = false;
    });
    while (copying) {
      for (const way of ['nc', 'mint'] as const) {
        times[way].push(await keystroke(sessions[way]));
        await sleep(pace);
      }
    }
    await copied;
  } finally {
    for (const session of Object.values(sessions)) session.kill();
  }
  return times;
}

async function keystroke({ stdin, stdout }: ChildProcessWithoutNullStreams): Promise<number> {
  const back = once(stdout, 'data', { signal: AbortSignal.timeout(30_000) });
  const startedAt = performance.now();
  stdin.write('x');
  await back;
  return performance.now() - startedAt;
}
