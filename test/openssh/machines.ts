/** Instances with Mint's tags: each has its own sshd and address, all on one port. */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import type { Instance } from '../../src/demo/instance.ts';
import { demoRegion } from '../cloud/cloud.ts';
import { startSshd } from './sshd.ts';
import { freePort, loginUser, makeWorld, type Sshd, type World } from './world.ts';

/** The identity of the key that every world has, by STS. */
export const ownOwner = 'akiademodemodemodemo';

export interface Machine {
  readonly id: string;
  readonly sshd: Sshd;
}

export interface Machines {
  readonly world: World;
  readonly port: number;
  /** An instance with an sshd: `echo $MACHINE` prints its ID. */
  add(address: string, instance: Partial<Instance>): Promise<Machine>;
  /** An instance without an sshd. */
  show(instance: Partial<Instance>): string;
  change(id: string, instance: Partial<Instance>): void;
  end(): Promise<void>;
}

export function tags(name: string, owner = ownOwner): { tags: Record<string, string> } {
  return { tags: { mint: 'true', 'mint:vm': name, 'mint:owner': owner } };
}

/**
 * @param lines for the top of ssh.toml
 * @param environment more variables for every child
 * @param emptyAccount leaves other users' instances out, for tests that list everything
 */
export async function makeMachines(
  lines: readonly string[] = [],
  environment: Readonly<Record<string, string>> = {},
  { emptyAccount = false } = {},
): Promise<Machines> {
  const port = await freePort();
  const settings = [`port = ${port}`, `user = "${loginUser}"`, ...lines];
  const world = await makeWorld({ vms: {}, settings, environment, emptyAccount, withoutSshConfig: true });
  const sshds: Sshd[] = [];
  const show = (instance: Partial<Instance>) => {
    const id = instance.id ?? `i-${randomBytes(9).toString('hex').slice(1)}`;
    const { address = '127.0.0.1' } = instance;
    world.cloud.instances.set(id, { region: demoRegion, state: 'running', ...instance, id, address });
    return id;
  };
  return {
    world,
    port,
    show,
    async add(address, instance) {
      const id = show({ endpointPorts: { 22: port }, ...instance, address });
      const sshd = await startSshd({
        directory: join(world.directory, `machine-${sshds.length}`),
        authorizedKeys: join(world.directory, 'keys', id),
        address,
        port,
        environment: { MACHINE: id },
      });
      sshds.push(sshd);
      return { id, sshd };
    },
    change(id, instance) {
      const before = world.cloud.instances.get(id);
      if (before === undefined) throw new Error(`there is no ${id}`);
      world.cloud.instances.set(id, { ...before, ...instance });
    },
    async end() {
      for (const sshd of sshds) await sshd.stop({ sessions: true });
      await world.end();
    },
  };
}
