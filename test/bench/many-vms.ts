/**
 * What 1,000 VMs cost, against two: `node test/bench/many-vms.ts [ROUNDS]`. Logins alternate between two worlds that
 * differ in that alone, so that other load of the machine affects both. Prints the medians, in milliseconds;
 * nothing here decides whether a test passes.
 */
import { type Machines, makeMachines, tags } from '../openssh/machines.ts';

const rounds = Number(process.argv[2] ?? 40);
const manyVms = 1000;

async function prepare(count: number, address: string): Promise<Machines> {
  const machines = await makeMachines();
  const { world } = machines;
  world.cloud.pageSize = 1000;
  await machines.add(address, tags('fast'));
  for (let index = 1; index < count; index += 1) machines.show(tags(`vm${index}`));
  await run(machines, ['ssh-config', '--yes', '--file', world.sshConfigFile]);
  await login(machines);
  return machines;
}

async function run({ world }: Machines, words: readonly string[]): Promise<number> {
  const { status, stderr, milliseconds } = await world.mint(...words);
  if (status !== 0) throw new Error(stderr);
  return milliseconds;
}

async function login({ world }: Machines): Promise<number> {
  const { status, stderr, milliseconds } = await world.ssh('fast', 'true');
  if (status !== 0) throw new Error(stderr);
  return milliseconds;
}

/** ssh alone, which reads the blocks. */
async function readConfig({ world }: Machines): Promise<number> {
  return (await world.ssh('-G', 'fast')).milliseconds;
}

async function alternate(
  pair: readonly [Machines, Machines],
  measure: (machines: Machines) => Promise<number>,
): Promise<readonly [number, number]> {
  const times: [number[], number[]] = [[], []];
  for (let round = 0; round < rounds; round += 1) {
    // The second of a pair may find what the first has warmed.
    for (const at of round % 2 === 0 ? ([0, 1] as const) : ([1, 0] as const))
      times[at].push(await measure(pair[at]));
  }
  return [median(times[0]), median(times[1])];
}

function median(values: readonly number[]): number {
  return values.toSorted((one, other) => one - other)[values.length >> 1] ?? Number.NaN;
}

function tell(what: string, [few, many]: readonly [number, number]): void {
  const difference = (many - few).toFixed(1);
  process.stdout.write(
    `${what}: ${few.toFixed(1)} ms with 2 VMs, ${many.toFixed(1)} ms with ${manyVms}: ${difference} ms more\n`,
  );
}

const few = await prepare(2, '127.0.0.91');
const many = await prepare(manyVms, '127.0.0.92');
try {
  process.stdout.write(`medians of ${rounds}, alternating\n`);
  tell('a login', await alternate([few, many], login));
  tell('of that, ssh reading its config', await alternate([few, many], readConfig));
  tell('vms, from the cache', await alternate([few, many], (machines) => run(machines, ['vms'])));
  const words = (machines: Machines) => ['ssh-config', '--dry-run', '--file', machines.world.sshConfigFile];
  tell('ssh-config', await alternate([few, many], (machines) => run(machines, words(machines))));
} finally {
  await few.end();
  await many.end();
}
