/** The faults of the soak. Each one lasts for one round of logins. */
import { spawnSync } from 'node:child_process';
import { closeSync, openSync, readdirSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Login, Outcome } from './login.ts';
import type { Random } from './random.ts';
import { type Stage, vms } from './stage.ts';

export interface Fault {
  readonly name: string;
  /** How many of a hundred rounds have it. */
  readonly share: number;
  /** Allowed outcomes beside our error codes: a broken connection, a missing agent, a killed client. */
  readonly may?: readonly Outcome['kind'][];
  /** Why it is not possible here. */
  readonly missing?: (stage: Stage) => string | undefined;
  /** Before the logins of the round; gives what ends it. */
  readonly begin: (stage: Stage, random: Random) => Promise<() => Promise<void>>;
  /** While they run. */
  readonly during?: (stage: Stage, random: Random, logins: readonly Login[]) => Promise<void>;
  /** What ssh is started with. */
  readonly wrap?: (random: Random) => readonly string[];
}

const nothing = async () => {};

/** AWS is asked where no push is fresh: a new agent has none. */
async function withoutPush({ stopAgent }: Stage, random: Random): Promise<void> {
  if (random.below(10) < 8) await stopAgent();
}

const refusals = [
  'AuthException',
  'ServiceException',
  'EC2InstanceStateInvalidException',
  'EC2InstanceUnavailableException',
  'EC2InstanceNotFoundException',
  'InvalidArgsException',
  'AccessDeniedException',
  'ExpiredTokenException',
  'UnrecognizedClientException',
] as const;

function agentPids({ world }: Stage): number[] {
  return world.agents().map(({ pid }) => pid);
}

export const faults: readonly Fault[] = [
  { name: 'none', share: 16, begin: async () => nothing },
  {
    name: 'the agent is killed',
    share: 12,
    // Between the list of keys and the signature: the next agent has another key.
    may: ['denied'],
    begin: async (stage, random) => {
      if (random.below(2) === 0) await stage.stopAgent();
      return nothing;
    },
    async during(stage, random) {
      for (let times = 1 + random.below(2); times > 0; times -= 1) {
        await sleep(random.below(1500));
        for (const pid of agentPids(stage)) kill(pid);
      }
    },
  },
  {
    name: 'the API fails',
    share: 10,
    async begin(stage, random) {
      await withoutPush(stage, random);
      const { faults: api } = stage.world.cloud;
      api.failNext(
        random.pick(refusals),
        random.below(3) === 0 ? Number.POSITIVE_INFINITY : 1 + random.below(4),
      );
      return async () => api.clear();
    },
  },
  {
    name: 'the API throttles',
    share: 8,
    async begin(stage, random) {
      await withoutPush(stage, random);
      const { faults: api } = stage.world.cloud;
      api.throttle({ perSecond: random.pick([0.05, 0.5, 3]), burst: random.below(3) });
      return async () => api.clear();
    },
  },
  {
    name: 'the API hangs',
    share: 6,
    async begin(stage, random) {
      await withoutPush(stage, random);
      const { faults: api } = stage.world.cloud;
      if (random.below(3) === 0) {
        api.hang();
        return async () => api.clear();
      }
      const release = api.hold();
      const timer = setTimeout(release, 300 + random.below(4000));
      return async () => {
        clearTimeout(timer);
        release();
      };
    },
  },
  {
    name: 'the API’s answers are lost, or late',
    share: 6,
    async begin(stage, random) {
      await withoutPush(stage, random);
      const { faults: api } = stage.world.cloud;
      if (random.below(2) === 0) api.loseAnswers(1 + random.below(3));
      else api.delayMilliseconds = 200 + random.below(2500);
      return async () => api.clear();
    },
  },
  {
    name: 'the disk is full',
    share: 10,
    missing: ({ diskBytes }) => (diskBytes === undefined ? 'we may not mount here' : undefined),
    async begin(stage, random) {
      if (random.below(2) === 0) await stage.stopAgent();
      const { configDir } = stage.world;
      // The VMs that have to write a pin for their login, too.
      if (random.below(2) === 0) await stage.world.mint('hosts', 'forget', random.pick(vms));
      const files = fill(configDir, random.below(3) * 4096);
      return async () => {
        for (const file of files) rmSync(file, { force: true });
      };
    },
  },
  {
    name: 'the clock jumps',
    share: 8,
    missing: ({ faketime }) => (faketime === undefined ? 'libfaketime is not installed' : undefined),
    async begin(stage, random) {
      await stage.stopAgent();
      await stage.startClockedAgent();
      stage.setClock(random.pick([-86_400, -3600, -55, 0, 45, 55, 3600, 86_400, 30 * 86_400]));
      return async () => stage.setClock(0);
    },
    async during(stage, random) {
      await sleep(random.below(600));
      stage.setClock(random.pick([-3600, -60, 0, 60, 3600, 86_400]));
    },
  },
  {
    name: 'the agent is short of descriptors',
    share: 6,
    // What cannot be accepted cannot be answered.
    may: ['denied'],
    async begin(stage, random) {
      const [pid] = agentPids(stage);
      if (pid === undefined) return nothing;
      const limit = descriptorsOf(pid) + random.below(8);
      spawnSync('prlimit', ['--pid', String(pid), `--nofile=${limit}:`]);
      return async () => {
        spawnSync('prlimit', ['--pid', String(pid), '--nofile=1024:']);
      };
    },
  },
  {
    name: 'ssh and its proxy are short of descriptors',
    share: 6,
    begin: async (stage, random) => {
      if (random.below(3) === 0) await stage.stopAgent();
      return nothing;
    },
    // With fewer than twenty Node itself does not start.
    wrap: (random) => ['sh', '-c', 'ulimit -n "$0"; exec "$@"', String(20 + random.below(10))],
  },
  {
    name: 'sshd restarts',
    share: 10,
    may: ['cut'],
    begin: async () => nothing,
    async during(stage, random) {
      const sshd = stage.world.sshd(random.pick(vms));
      await sleep(random.below(2000));
      await sshd.stop({ sessions: random.below(2) === 0 });
      await sleep(random.below(1500));
      await sshd.start();
    },
  },
  {
    name: 'the network is cut',
    share: 8,
    may: ['cut'],
    begin: async () => nothing,
    async during(stage, random) {
      const { relay } = stage.world.vm(random.pick(vms));
      await sleep(random.below(2000));
      relay?.cut();
      if (random.below(2) === 0) {
        relay?.refuse();
        await sleep(random.below(1000));
        relay?.refuse(false);
      }
    },
  },
  {
    name: 'ssh is killed',
    share: 4,
    may: ['killed'],
    begin: async () => nothing,
    async during(_stage, random, logins) {
      for (const { child } of logins) {
        await sleep(random.below(200));
        if (random.below(3) > 0) child.kill('SIGKILL');
      }
    },
  },
];

/** Writes until nothing more fits but this many bytes. */
function fill(directory: string, room: number): string[] {
  const names = ['soak-fill', 'soak-room'].map((name) => join(directory, name)) as [string, string];
  const [filler, space] = names;
  if (room > 0) write(space, Buffer.alloc(room));
  for (let size = 1 << 16; size > 0; size >>= 1) while (write(filler, Buffer.alloc(size)));
  rmSync(space, { force: true });
  return names;
}

/** False where it does not fit. */
function write(path: string, bytes: Buffer): boolean {
  const descriptor = openSync(path, 'a', 0o600);
  try {
    return writeSync(descriptor, bytes) === bytes.length;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
    return false;
  } finally {
    closeSync(descriptor);
  }
}

export function descriptorsOf(pid: number): number {
  try {
    return readdirSync(`/proc/${pid}/fd`).length;
  } catch {
    // It has ended.
    return 0;
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has already ended.
  }
}
