/** When this agent may exit for an upgrade or for `agent stop`: not while that would lose keys. */
import { setTimeout as sleep } from 'node:timers/promises';
import { MintError } from '../errors.ts';
import { protocolVersion } from './control/protocol.ts';
import type { Services } from './services.ts';

/** How long the agent waits for logins in progress before it exits for a newer program. */
const loginWaitMs = 5000;

/**
 * Waits until a newer program may replace this agent. Established sessions survive that; logins in progress get a few
 * seconds to complete.
 * @param version the protocol version of the program that asks
 * @throws MintError `agent-unavailable` if the program is older than the agent, `agent-in-use` if keys would be lost
 */
export async function assertReplaceable(
  version: number,
  services: Pick<Services, 'jobs' | 'managedKeys' | 'log'>,
  isLoggingIn: () => boolean,
): Promise<void> {
  if (version < protocolVersion) {
    throw new MintError('agent-unavailable', 'the running agent has another version, a newer one', {
      hint: 'update this mint-ssh; if it was updated while this command ran, run the command again',
    });
  }
  const held = heldKeys(services);
  if (held !== undefined) {
    throw new MintError('agent-in-use', `the running agent has another version, and holds ${held}`, {
      hint: 'it exits as soon as it holds none; to lose them and upgrade now: mint-ssh agent stop --force',
    });
  }
  services.log(`exits for a newer program, protocol version ${version}`);
  for (const deadline = performance.now() + loginWaitMs; isLoggingIn() && performance.now() < deadline; )
    await sleep(50);
}

/**
 * Refuses `agent stop` while job keys exist: they are nowhere but in the agent's memory. Unlocked managed keys are
 * still in the key store.
 * @throws MintError `agent-in-use`
 */
export function refuseToLoseJobs({ jobs: { open } }: Pick<Services, 'jobs'>): void {
  if (open.length === 0) return;
  const names = open.slice(0, 5).join(', ');
  throw new MintError(
    'agent-in-use',
    `the agent holds ${counted(open.length, 'job key')}: ${names}${open.length > 5 ? ', …' : ''}`,
    {
      hint: 'without it their VMs cannot be reached: end the jobs first, or run: mint-ssh agent stop --force',
    },
  );
}

/** @returns the keys in memory that the user would lose, in words; undefined if there are none */
function heldKeys({ jobs, managedKeys }: Pick<Services, 'jobs' | 'managedKeys'>): string | undefined {
  const kinds = [counted(jobs.open.length, 'job key'), counted(managedKeys.unlocked.length, 'unlocked key')];
  const held = kinds.filter((kind) => kind !== undefined);
  return held.length === 0 ? undefined : held.join(' and ');
}

function counted(count: number, what: string): string | undefined {
  if (count === 0) return undefined;
  return count === 1 ? `a ${what}`.replace(/^a (?=[aeiou])/, 'an ') : `${count} ${what}s`;
}
