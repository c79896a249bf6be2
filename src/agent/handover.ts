/** When this agent may end for someone who wants another one, or none: not where keys would be lost with it. */
import { setTimeout as sleep } from 'node:timers/promises';
import { MintError } from '../errors.ts';
import { protocolVersion } from './control-protocol.ts';
import type { Services } from './services.ts';

/** How long logins that have begun are waited for before the agent makes way, in milliseconds. */
const loginWait = 5000;

/**
 * Someone speaks another version. Resolves when the agent may make way for a newer one: no session is dropped, and a
 * login that has begun is waited for. @throws MintError `agent-unavailable` for an older one, `agent-in-use` where
 * keys would be lost
 */
export async function mayMakeWay(
  version: number,
  services: Pick<Services, 'jobs' | 'managedKeys' | 'log'>,
  isLoggingIn: () => boolean,
): Promise<void> {
  if (version < protocolVersion) {
    throw new MintError('agent-unavailable', 'the running agent is of another version, a newer one', {
      hint: 'update this mint-ssh; if it was updated while this command ran, run the command again',
    });
  }
  const held = heldKeys(services);
  if (held !== undefined) {
    throw new MintError('agent-in-use', `the running agent is of another version, and holds ${held}`, {
      hint: 'it makes way as soon as it holds none; at once, and without them: mint-ssh agent stop --force',
    });
  }
  services.log(`makes way for a program that speaks version ${version}`);
  for (const deadline = performance.now() + loginWait; isLoggingIn() && performance.now() < deadline; )
    await sleep(50);
}

/**
 * Before a person's `stop`: a key that is unlocked stands in its store all the same, a job's is nowhere else.
 * @throws MintError `agent-in-use`
 */
export function refuseToLoseJobs({ jobs: { open } }: Pick<Services, 'jobs'>): void {
  if (open.length === 0) return;
  const names = open.slice(0, 5).join(', ');
  throw new MintError(
    'agent-in-use',
    `the agent holds ${counted(open.length, 'job key')}: ${names}${open.length > 5 ? ', …' : ''}`,
    {
      hint: 'nobody gets into their VMs any more without it: end the jobs first, or mint-ssh agent stop --force',
    },
  );
}

/** What a person would have to unlock or begin anew, in words; undefined for nothing. */
function heldKeys({ jobs, managedKeys }: Pick<Services, 'jobs' | 'managedKeys'>): string | undefined {
  const kinds = [counted(jobs.open.length, 'job key'), counted(managedKeys.unlocked.length, 'unlocked key')];
  const held = kinds.filter((kind) => kind !== undefined);
  return held.length === 0 ? undefined : held.join(' and ');
}

function counted(count: number, what: string): string | undefined {
  if (count === 0) return undefined;
  return count === 1 ? `a ${what}`.replace(/^a (?=[aeiou])/, 'an ') : `${count} ${what}s`;
}
