/** Step 2: a connection to the VM, by whichever way leads there. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Way } from '../names/ways.ts';
import { type AgentLink, AgentRefusal } from './agent-link.ts';
import type { EarlyDial } from './early-dial.ts';
import type { End } from './end.ts';
import { travel } from './route.ts';

/** A server that answers at all answers sooner than this, in milliseconds; else the agent is asked beside it. */
const doubtTime = 1500;

/**
 * How long the sshd of a VM that was just started may take, in milliseconds, and how often it is tried: through an
 * endpoint the agent cannot see when it is up.
 */
const bootLimit = 60_000;
const bootPause = 2000;

/** What the dialling needs of the agent. */
type Guide = Pick<AgentLink, 'target' | 'sure' | 'retarget' | 'tunnel'>;
type AgentTarget = AgentLink['target'];

/** The time that is left until the server has to have spoken. */
export interface Patience {
  /** In milliseconds. */
  readonly left: () => number;
  /** The VM turned out to be elsewhere, or had to be started: its time begins now. */
  readonly restart: () => void;
}

export interface Dialled {
  readonly server: End;
  /** Where the agent said that it is. */
  readonly target: AgentTarget;
  /** The way that led there. */
  readonly way: Way;
}

/**
 * Dials where the agent says. Where nobody answers there it asks the agent for the VM's address now, and dials
 * that when it has changed.
 * @param early what was dialled before the agent had said where
 * @throws MintError `dial-failed`, and what the agent says
 */
export async function reach(
  vm: string,
  agent: Guide,
  patience: Patience,
  early: EarlyDial | undefined,
): Promise<Dialled> {
  for (const begin = performance.now(); ; ) {
    const { target } = agent;
    const { ways, port } = target;
    const tunnel = () => agent.tunnel();
    const attempt = travel({ vm, ways, port, limit: patience.left(), tunnel, early });
    const dialled = attempt.then((arrival) => ({ ...arrival, target }));
    const ended = new AbortController();
    try {
      return await Promise.race([dialled, movedAway(agent, target, ended.signal)]);
    } catch (error) {
      attempt.then(({ server }) => server.destroy()).catch(() => {});
      if (!(error instanceof MovedAway)) {
        await agent.retarget();
        // Sure for want of an answer, it may be: now the agent is asked, and waits for EC2 longer.
        if (!target.sure && isSame(agent.target, target)) await agent.retarget();
        if (isSame(agent.target, target)) {
          if (!mayBoot(error, target) || performance.now() - begin > bootLimit) throw error;
          await sleep(bootPause);
        }
      }
      patience.restart();
    } finally {
      ended.abort();
    }
  }
}

/** A VM that was started, or made anew, is another target even where its address stays. */
export function isSame(one: AgentTarget, other: AgentTarget): boolean {
  return one.serial === other.serial && JSON.stringify(one.ways) === JSON.stringify(other.ways);
}

/** Started for this connection, and asked through an endpoint; what the agent says of that one is no matter of time. */
function mayBoot(error: unknown, { serial, ways }: AgentTarget): boolean {
  return serial > 0 && ways.some(({ kind }) => kind === 'endpoint') && !(error instanceof AgentRefusal);
}

class MovedAway extends Error {}

/** Rejects when the agent says that the VM is no longer there; asks it where a server takes long to answer. */
async function movedAway(agent: Guide, dialled: AgentTarget, signal: AbortSignal): Promise<never> {
  const doubt = sleep(doubtTime, undefined, { signal, ref: false }).then(() => agent.retarget());
  doubt.catch(() => {});
  for (const word of [agent.sure(), doubt]) {
    await word;
    if (!isSame(agent.target, dialled)) throw new MovedAway();
  }
  return await new Promise<never>(() => {});
}
