/** What a copy costs: throughput, the proxy's processor time, and what it holds in memory. */
import { readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { megabytes } from '../agent/memory.ts';
import { mintProgram, type World } from '../openssh/world.ts';
import { mint, pipeOptions } from './logins.ts';
import { asOption, type Stage } from './stage.ts';

/** A tick of /proc/PID/stat, in milliseconds. */
const tick = 10;
const lookInterval = 25;

export type Direction = 'up' | 'down' | 'both';
export type CopyWay = 'ssh direct' | 'nc' | 'socat nodelay' | 'mint-ssh';

export interface Copy {
  readonly seconds: number;
  /** Megabytes (10^6) a second, one way. */
  readonly rate: number;
  /** Of the ProxyCommand alone, in seconds; its last ticks are not seen. */
  readonly processor: number;
  /** Private dirty megabytes of the ProxyCommand: the most, and the average of the first and the last third. */
  readonly memory: { readonly most: number; readonly early: number; readonly late: number };
}

/** Copies `bytes` of zeros; a sparse file, so that no disk counts. */
export async function copy(
  stage: Stage,
  world: World,
  way: CopyWay,
  direction: Direction,
  bytes: number,
): Promise<Copy> {
  const file = join(stage.directory, 'zeros');
  writeFileSync(file, '');
  truncateSync(file, bytes);
  const command = { up: 'exec cat >/dev/null', down: `exec head -c ${bytes} /dev/zero`, both: 'exec cat' }[
    direction
  ];
  const cipher = asOption('Ciphers=aes128-gcm@openssh.com');
  const args =
    way === 'mint-ssh'
      ? mint(
          world,
          'rtt-0',
          [...cipher, ...asOption(`ProxyCommand="${mintProgram}" proxy %h %p %r`)],
          command,
        )
      : [...cipher, ...stage.plain(stage.port(0), pipeOptions(way, stage.port(0)), command)];
  let watch: ReturnType<typeof watchProxy> | undefined;
  const options = direction === 'down' ? {} : { stdin: file };
  const { milliseconds } = await stage.run('ssh', args, {
    ...options,
    started: (pid) => {
      watch = watchProxy(pid);
    },
  });
  const seconds = milliseconds / 1000;
  return {
    seconds,
    rate: bytes / 1e6 / seconds,
    ...(watch?.stop() ?? { processor: 0, memory: { most: 0, early: 0, late: 0 } }),
  };
}

/** ssh's first child is the ProxyCommand. */
function watchProxy(ssh: number) {
  let proxy: number | undefined;
  let processor = 0;
  const memory: number[] = [];
  let looks = 0;
  const timer = setInterval(() => {
    try {
      proxy ??= Number(readFileSync(`/proc/${ssh}/task/${ssh}/children`, 'utf8').split(' ')[0]) || undefined;
      if (proxy === undefined) return;
      const stat = readFileSync(`/proc/${proxy}/stat`, 'utf8');
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      processor = ((Number(fields[11]) + Number(fields[12])) * tick) / 1000;
      // The first second is the login; and this look costs more than the other.
      if (++looks % 8 === 0 && looks > 40) memory.push(megabytes(proxy));
    } catch {
      // It has ended.
    }
  }, lookInterval);
  return {
    stop() {
      clearInterval(timer);
      const third = Math.max(1, Math.floor(memory.length / 3));
      const average = (values: readonly number[]) =>
        values.reduce((sum, each) => sum + each, 0) / Math.max(1, values.length);
      return {
        processor,
        memory: {
          most: Math.max(0, ...memory),
          early: average(memory.slice(0, third)),
          late: average(memory.slice(-third)),
        },
      };
    },
  };
}
