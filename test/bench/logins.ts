/** From Enter to command done: each way to log in, near and far, with a warm key and without. */

import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { mintProgram, type World, waitFor } from '../openssh/world.ts';
import { interleave, median } from './figures.ts';
import { asOption, type Stage } from './stage.ts';

export interface Plan {
  readonly rounds: number;
  readonly pushRounds: number;
  readonly coldRounds: number;
  /** In milliseconds. */
  readonly roundTrips: readonly number[];
  readonly apiDelays: readonly number[];
}

/** Milliseconds, one value a round. */
export type Times = Readonly<Record<string, readonly number[]>>;

export interface WarmLogins {
  readonly times: Times;
  /** `node -e 0` of the Node that the executable carries. */
  readonly node: readonly number[];
  /** What follows the release of the held bytes: authentication, the session, the command. */
  readonly authentication: number;
}

/** A start of Node as the executable makes it. */
const nodeStart = `${process.execPath} --max-semi-space-size=1 --v8-pool-size=1 -e 0`;

/** The ways of a machine without mint-ssh: nothing, a pipe, one with TCP_NODELAY; and what Node alone costs. */
export const pipes = {
  'ssh direct': undefined,
  'nc behind Node': (port: number) => `sh -c '${nodeStart}; exec nc 127.0.0.1 ${port}'`,
  nc: (port: number) => `nc 127.0.0.1 ${port}`,
  'socat nodelay': (port: number) => `socat STDIO TCP:127.0.0.1:${port},nodelay`,
} as const;

export function pipeOptions(name: keyof typeof pipes, port: number): string[] {
  const pipe = pipes[name]?.(port);
  return pipe === undefined ? [] : [`ProxyCommand=${pipe}`];
}

const vmOf = (roundTrip: number) => `rtt-${roundTrip}`;

/** A world whose VMs are the stage's sshds: one for each distance, one with the default key exchange, and spares. */
export function loginWorld(stage: Stage, { roundTrips }: Plan, spares: readonly string[]): Promise<World> {
  const vms = {
    ...Object.fromEntries(roundTrips.map((time) => [vmOf(time), { port: stage.port(time) }])),
    usual: { port: stage.usual.port },
    ...Object.fromEntries(spares.map((name) => [name, { port: stage.port(roundTripOf(name)) }])),
  };
  return stage.world({ vms });
}

/**
 * The key is authorised already; the rest of the main path is as always.
 * @param leaveOut ways that are not taken
 */
export async function warmLogins(
  stage: Stage,
  world: World,
  plan: Plan,
  place: number | 'usual',
  leaveOut: readonly string[] = [],
): Promise<WarmLogins> {
  const [vm, port] = place === 'usual' ? ['usual', stage.usual.port] : [vmOf(place), stage.port(place)];
  const timed = [`ProxyCommand="${mintProgram}" proxy ${vm} %p %r --timing`].flatMap(asOption);
  const master = [`ControlPath=${stage.directory}/master-${vm}`, 'ControlMaster=auto', 'ControlPersist=60'];
  const rests: number[] = [];
  const plain = (options: readonly string[]) => async () =>
    (await stage.run('ssh', stage.plain(port, options, 'true'))).milliseconds;
  const ways: Record<string, (round: number) => Promise<number>> = {
    'node -e 0': async () => (await stage.run(process.execPath, ['-e', '0'])).milliseconds,
    'ssh direct': plain([]),
    nc: plain(pipeOptions('nc', port)),
    'socat nodelay': plain(pipeOptions('socat nodelay', port)),
    'nc behind Node': plain(pipeOptions('nc behind Node', port)),
    'mint-ssh, key warm': async (round) => {
      // A push is good for 50 s: a slow run must not measure one here.
      if (round % 5 === 0) await stage.run('ssh', mint(world, vm), world);
      const { milliseconds, stderr } = await stage.run('ssh', mint(world, vm, timed), world);
      const total = Number(/total ([\d.]+) ms/.exec(stderr)?.[1]);
      if (round > 0) rests.push(milliseconds - total);
      return milliseconds;
    },
    'ControlMaster, open': plain(master),
  };
  for (const name of leaveOut) delete ways[name];
  const { 'node -e 0': node = [], ...times } = await interleave(plan.rounds, ways);
  spawnSync('ssh', ['-O', 'exit', ...asOption(`ControlPath=${stage.directory}/master-${vm}`), '127.0.0.1'], {
    stdio: 'ignore',
    timeout: 5000,
  });
  return { times, node, authentication: median(rests) };
}

export function mint(world: World, vm: string, options: readonly string[] = [], command = 'true'): string[] {
  return ['-F', world.sshConfigFile, ...options, vm, command];
}

/** Names of VMs that are logged in to once a minute at most, so that each login needs a push. */
export function spareNames({ roundTrips, pushRounds }: Plan): string[] {
  return roundTrips.flatMap((time) =>
    Array.from({ length: pushRounds + 1 }, (_, round) => `spare-${time}-${round}`),
  );
}

function roundTripOf(spare: string): number {
  return Number(spare.split('-')[1]);
}

/** Pins every VM of the world. The second login records the host keys of other types that ssh learnt in the first. */
export async function firstLogins(stage: Stage, world: World, plan: Plan): Promise<void> {
  const names = [...plan.roundTrips.map(vmOf), ...spareNames(plan)];
  for (const all of [names, names])
    for (let begun = 0; begun < all.length; begun += 5)
      await Promise.all(
        all.slice(begun, begun + 5).map((name) => stage.run('ssh', mint(world, name), world)),
      );
}

/** A push is needed, and the agent runs. */
export async function pushLogins(stage: Stage, world: World, plan: Plan, roundTrip: number): Promise<Times> {
  return await interleave(plan.pushRounds, {
    'mint-ssh, push needed': async (round) =>
      (await stage.run('ssh', mint(world, `spare-${roundTrip}-${round}`), world)).milliseconds,
    'mint-ssh, key warm': async () =>
      (await stage.run('ssh', mint(world, vmOf(roundTrip)), world)).milliseconds,
  });
}

/** No agent runs. */
export async function coldLogins(stage: Stage, world: World, plan: Plan): Promise<number[]> {
  const times = await interleave(plan.coldRounds, {
    cold: async () => {
      await world.mint('agent', 'stop');
      await waitFor('the agent to end', 15_000, () => world.agents().length === 0);
      return (await stage.run('ssh', mint(world, vmOf(0)), world)).milliseconds;
    },
  });
  return times.cold;
}

/** A login without mint-ssh: a push with the AWS CLI, then nc. Undefined without the CLI. */
export async function awsCliLogins(
  stage: Stage,
  world: World,
  plan: Plan,
): Promise<{ cli: number[]; version: string } | undefined> {
  const aws = findAwsCli();
  if (aws === undefined) return undefined;
  const { instance } = world.vm(vmOf(0));
  const push = `${aws.path} ec2-instance-connect send-ssh-public-key --instance-id ${instance} --instance-os-user ${world.environment['USER']} --ssh-public-key file://${stage.keyFile}.pub`;
  // ssh puts an `exec` before it.
  const line = `ProxyCommand=sh -c '${push} >/dev/null && exec nc 127.0.0.1 ${stage.port(0)}'`;
  const environment = { ...world.environment, AWS_DEFAULT_REGION: world.environment['AWS_REGION'] ?? '' };
  const { cli } = await interleave(plan.coldRounds, {
    cli: async () =>
      (await stage.run('ssh', stage.plain(stage.port(0), [line], 'true'), { environment })).milliseconds,
  });
  return { cli, version: aws.version };
}

/** The program itself: a version manager's stand-in for it would be measured as well. */
function findAwsCli(): { readonly path: string; readonly version: string } | undefined {
  const found = (process.env['PATH'] ?? '')
    .split(':')
    .map((each) => join(each, 'aws'))
    .find((path) => existsSync(path));
  if (found === undefined) return undefined;
  const isStandIn = readFileSync(found, 'latin1').slice(0, 2000).includes('pyenv');
  const path = isStandIn
    ? spawnSync('pyenv', ['which', 'aws'], { encoding: 'utf8', timeout: 5000 }).stdout.trim()
    : found;
  const version = spawnSync(path, ['--version'], { encoding: 'utf8', timeout: 10_000 });
  return version.status === 0 ? { path, version: `${version.stdout}${version.stderr}`.trim() } : undefined;
}
