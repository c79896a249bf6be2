/** Step 2: a connection to the VM, by whichever way leads there. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Candidate } from '../vms/candidates.ts';
import { AgentRefusal } from './agent-refusal.ts';
import type { EarlyDial } from './early-dial.ts';
import type { End } from './end.ts';
import { type Guide, isSame, type Target } from './guide.ts';
import { travel } from './route.ts';

/** A server that answers at all answers sooner than this, in milliseconds; else the agent is asked beside it. */
const doubtTime = 1500;

/**
 * How long the sshd of a VM that was just started may take, in milliseconds, and how often it is tried: through an
 * endpoint the agent cannot see when it is up.
 */
const bootLimit = 60_000;
const bootPause = 2000;

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
  readonly target: Target;
  /** The way that led there. */
  readonly way: Candidate;
}

/**
 * Dials where the agent says. Where nobody answers there it asks the agent for the VM's address now, and dials
 * that when it has changed.
 * @param early what was dialled before the agent had said where
 * @throws MintError `dial-failed`, and what the agent says
 */
export async function reach(
  vm: string,
  guide: Guide,
  patience: Patience,
  early: EarlyDial | undefined,
): Promise<Dialled> {
  for (const begin = performance.now(); ; ) {
    const { target } = guide;
    const { candidates, port } = target;
    const tunnel = () => guide.tunnel();
    const attempt = travel({ vm, candidates, port, limit: patience.left(), tunnel, early });
    const dialled = attempt.then((arrival) => ({ ...arrival, target }));
    const ended = new AbortController();
    try {
      return await Promise.race([dialled, movedAway(guide, target, ended.signal)]);
    } catch (error) {
      attempt.then(({ server }) => server.destroy()).catch(() => {});
      if (!(error instanceof MovedAway)) {
        await guide.retarget();
        // Sure for want of an answer, it may be: now the agent is asked, and waits for EC2 longer.
        if (!target.sure && isSame(guide.target, target)) await guide.retarget();
        if (isSame(guide.target, target)) {
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

/** Started for this connection, and asked through an endpoint; what the agent says of that one is no matter of time. */
function mayBoot(error: unknown, { serial, candidates }: Target): boolean {
  return serial > 0 && candidates.some(({ kind }) => kind === 'endpoint') && !(error instanceof AgentRefusal);
}

class MovedAway extends Error {}

/** Rejects when the agent says that the VM is no longer there; asks it where a server takes long to answer. */
async function movedAway(guide: Guide, dialled: Target, signal: AbortSignal): Promise<never> {
  const doubt = sleep(doubtTime, undefined, { signal, ref: false }).then(() => guide.retarget());
  doubt.catch(() => {});
  for (const word of [guide.sure(), doubt]) {
    await word;
    if (!isSame(guide.target, dialled)) throw new MovedAway();
  }
  return await new Promise<never>(() => {});
}
