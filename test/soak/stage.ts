/** The world of the soak: with a small disk, a network that can break, and an agent with its own clock. */
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { makeWorld, mintProgram, type World, waitFor } from '../openssh/world.ts';
import { libfaketime } from '../programs.ts';

export const vms = ['one', 'two', 'three'] as const;

export interface Stage {
  readonly world: World;
  /** The configuration directory is a file system of its own, of this many bytes; undefined where we may not mount. */
  readonly diskBytes: number | undefined;
  /** Where libfaketime is; undefined where it is not installed. */
  readonly faketime: string | undefined;
  /** Ends the agent, however many there are. */
  stopAgent(): Promise<void>;
  /** Starts an agent whose wall clock `setClock` sets. */
  startClockedAgent(): Promise<void>;
  /** In seconds from the real time. */
  setClock(seconds: number): void;
  end(): Promise<void>;
}

/** The audit log of thousands of logins has room, and it is soon filled. */
const diskBytes = 4 * 1024 * 1024;

export async function makeStage(): Promise<Stage> {
  // A build in the middle of it would make it a soak of two programs.
  const programs = mkdtempSync('/tmp/ms-');
  const program = join(programs, 'mint-ssh');
  copyFileSync(mintProgram, program);
  const temporary = join(programs, 'tmp');
  mkdirSync(temporary);
  const world = await makeWorld({
    program,
    vms: Object.fromEntries(vms.map((name) => [name, { relay: true }])),
    environment: { TMPDIR: temporary },
  });
  // Alone in its mount namespace; see `soak.ts`.
  const isMounted =
    process.env['MINT_SOAK_NAMESPACE'] === 'yes' &&
    spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${diskBytes},mode=700`, 'none', world.configDir])
      .status === 0;
  if (isMounted) await world.settings([]);
  // libfaketime reads this file also after the agent has removed its variables from the environment.
  const clock = join(world.home, '.faketimerc');
  const stage: Stage = {
    world,
    diskBytes: isMounted ? diskBytes : undefined,
    faketime: existsSync(libfaketime) ? libfaketime : undefined,
    async stopAgent() {
      await world.mint('agent', 'stop');
      await waitFor('the agents to end', 15_000, () => world.agents().length === 0);
    },
    setClock(seconds) {
      writeFileSync(`${clock}~`, `${seconds < 0 ? '' : '+'}${seconds}\n`);
      renameSync(`${clock}~`, clock);
    },
    async startClockedAgent() {
      stage.setClock(0);
      const env = {
        LD_PRELOAD: stage.faketime,
        FAKETIME_NO_CACHE: '1',
        FAKETIME_TIMESTAMP_FILE: clock,
        FAKETIME_DONT_FAKE_MONOTONIC: '1',
      };
      const agent = world.start(program, ['agent'], { env, timeout: 3 * 3600_000 });
      await agent.until(/the agent listens on /, 30_000);
    },
    async end() {
      try {
        await world.mint('agent', 'stop');
        if (isMounted) spawnSync('umount', ['-l', world.configDir]);
        await world.end();
      } finally {
        rmSync(programs, { recursive: true, force: true });
      }
    },
  };
  return stage;
}
