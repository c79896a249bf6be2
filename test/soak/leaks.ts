/** Resources that must not grow, checked between rounds, when no session is open. */
import { readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { processesOf } from '../openssh/processes.ts';
import { waitFor } from '../openssh/world.ts';
import { descriptorsOf } from './faults.ts';
import type { Stage } from './stage.ts';

/** The highest of what was seen, and what was seen last. */
export interface Tide {
  readonly agentDescriptors: number;
  readonly agentMegabytes: number;
  /** Files and sockets below the configuration directory. */
  readonly files: number;
}

/** An idle agent has its sockets, its log, its AWS worker and a connection or two to AWS. */
const mostDescriptors = 60;
const mostMegabytes = 160;

export class Leak extends Error {
  override readonly name = 'Leak';
}

/**
 * Waits until what the logins left has gone, and measures what stays.
 * @throws Leak where something stays that is of no use
 */
export async function lookForLeaks(stage: Stage): Promise<Tide> {
  const { world } = stage;
  const proxies = () =>
    processesOf(world.directory).filter(({ command }) => /mint-ssh (?:.* )?proxy |^ssh /.test(command));
  await noLeak('proxies or clients', () => proxies().map(({ pid, command }) => `${pid} ${command}`));
  await noLeak('a second agent', () =>
    world
      .agents()
      .slice(1)
      .map(({ pid }) => String(pid)),
  );
  const [agent] = world.agents();
  if (agent !== undefined)
    await noLeak('descriptors of the agent', () => {
      const count = descriptorsOf(agent.pid);
      return count > mostDescriptors ? [`${count}`] : [];
    });
  const megabytes = agent === undefined ? 0 : privateMegabytes(agent.pid);
  if (megabytes > mostMegabytes) throw new Leak(`the agent has ${megabytes} MB`);
  await noLeak('unneeded files', () => filesBelow(world.configDir).filter((file) => !isExpected(file)));
  return {
    agentDescriptors: agent === undefined ? 0 : descriptorsOf(agent.pid),
    agentMegabytes: megabytes,
    files: filesBelow(world.configDir).length,
  };
}

async function noLeak(what: string, look: () => string[]): Promise<void> {
  await waitFor(what, 20_000, () => look().length === 0).catch(() => {
    const left = look();
    if (left.length > 0) throw new Leak(`${what}: ${left.join(', ')}`);
  });
}

/** What a configuration directory holds, by the contract; no temporary file is among it. */
const expected = [
  /^(?:known_hosts|ssh\.toml|ssh_config|audit\.log|audit\.log\.1)$/,
  /^hosts\/(?:one|two|three)\.(?:json|known_hosts|known_hosts\.old|libssh_known_hosts)$/,
  /^cache\/(?:vms\.json|lock|(?:one|two|three)\.address)$/,
  /^(?:hosts\/)?\.?[a-z_.-]*lock$/,
  /^run\/(?:control\.sock|forward\.sock|agent\.log|lock|ssh-config\.lock|machine|(?:agent|forward)\/[a-z0-9.-]+\.sock)$/,
  // Of a proxy that was killed in its turn: the next one takes it over.
  /^run\/starting$/,
];

function isExpected(file: string): boolean {
  return expected.some((form) => form.test(file));
}

function filesBelow(directory: string): string[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => !entry.isDirectory())
    .map((entry) => relative(directory, join(entry.parentPath, entry.name)));
}

function privateMegabytes(pid: number): number {
  try {
    const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
    const kilobytes = [...rollup.matchAll(/^Private_\w+: +(\d+) kB$/gm)].reduce(
      (all, [, count]) => all + Number(count),
      0,
    );
    return Math.round(kilobytes / 1024);
  } catch {
    return 0;
  }
}
