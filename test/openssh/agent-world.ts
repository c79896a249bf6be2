/** A world in which each test starts without an agent. */
import assert from 'node:assert/strict';
import { lstatSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before } from 'node:test';
import type { RunningProcess } from './processes.ts';
import { type Child, makeWorld, type VmOptions, type World, waitFor } from './world.ts';

export interface AgentWorld {
  readonly world: () => World;
  readonly runDirectory: () => string;
  readonly run: (name: string) => string;
  /** The running agent; fails if there is none, or more than one. */
  readonly oneAgent: () => RunningProcess;
  /** A session on `dev` that answers lines until its input ends. */
  readonly openSession: () => Promise<Child>;
  readonly isAlive: (session: Child) => Promise<void>;
  /** @param warning the output that ssh itself may print */
  readonly logsIn: (warning?: RegExp) => Promise<void>;
  /** Waits until the agent knows of so many connections. */
  readonly liveConnections: (count: number) => Promise<void>;
}

/** For the body of a `describe`: makes the world before its tests, and ends it after them. */
export function agentWorld(vms: Readonly<Record<string, VmOptions>>): AgentWorld {
  let world: World;
  const sessions: Child[] = [];
  before(async () => {
    world = await makeWorld({ vms });
  });
  afterEach(async () => {
    for (const session of sessions.splice(0)) {
      session.stdin.end();
      await session.done;
    }
    await world.mint('agent', 'stop');
    await waitFor('the agents to end', 15_000, () => world.agents().length === 0);
  });
  after(() => world.end());
  const runDirectory = () => join(world.configDir, 'run');
  return {
    world: () => world,
    runDirectory,
    run: (name) => join(runDirectory(), name),
    oneAgent() {
      const [agent, ...more] = world.agents();
      assert.ok(agent !== undefined && more.length === 0, JSON.stringify(world.agents()));
      return agent;
    },
    async openSession() {
      const session = world.startSsh(['dev', 'echo in; cat; echo out'], { holdInput: true });
      sessions.push(session);
      await session.until(/in\n/);
      return session;
    },
    async isAlive(session) {
      const word = `still-${Math.random()}`;
      session.stdin.write(`${word}\n`);
      await session.until(new RegExp(word));
    },
    async logsIn(warning = /^$/) {
      const { status, stdout, stderr } = await world.ssh('dev', 'echo hello');
      assert.deepEqual([status, stdout], [0, 'hello\n'], stderr);
      assert.match(stderr, warning);
    },
    async liveConnections(count) {
      await waitFor(`${count} connections of the agent`, 30_000, async () => {
        const { stdout } = await world.mint('agent', 'status', '--json');
        return JSON.parse(stdout)?.connections === count;
      });
    },
  };
}

/** Names of the sockets in a run directory, each with its inode. */
export function socketsIn(directory: string): string[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isSocket())
    .map((entry) => `${entry.name} ${lstatSync(join(entry.parentPath, entry.name)).ino}`)
    .sort();
}
