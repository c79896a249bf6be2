/** Step 2: a TCP connection to the VM. */
import { setTimeout as sleep } from 'node:timers/promises';
import { MintError } from '../errors.ts';
import type { AgentLink } from './agent-link.ts';
import { connectServer, type End } from './end.ts';

interface Target {
  readonly vm: string;
  readonly host: string;
  readonly port: number;
}

/** A server that answers at all answers sooner than this, in milliseconds; else the agent is asked beside it. */
const doubtTime = 1500;

/** What the dialling needs of the agent. */
type Guide = Pick<AgentLink, 'target' | 'sure' | 'retarget'>;
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
  /** Where it is. */
  readonly target: AgentTarget;
}

/**
 * Dials where the agent says. Where nobody answers there it asks the agent for the VM's address now, and dials
 * that when it has changed. @throws MintError `dial-failed`, and what the agent says
 */
export async function reach(vm: string, agent: Guide, patience: Patience): Promise<Dialled> {
  for (;;) {
    const { target } = agent;
    const attempt = dial({ vm, host: target.host, port: target.port }, patience.left());
    const dialled = attempt.then((server) => ({ server, target }));
    const ended = new AbortController();
    try {
      return await Promise.race([dialled, movedAway(agent, target, ended.signal)]);
    } catch (error) {
      attempt.then((server) => server.destroy()).catch(() => {});
      if (!(error instanceof MovedAway)) {
        await agent.retarget();
        if (isSame(agent.target, target)) throw error;
      }
      patience.restart();
    } finally {
      ended.abort();
    }
  }
}

/** A VM that was started, or made anew, is another target even where its address stays. */
export function isSame(one: AgentTarget, other: AgentTarget): boolean {
  return one.host === other.host && one.serial === other.serial;
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

/**
 * @param limit milliseconds that are left for it
 * @throws MintError `dial-failed`
 */
async function dial(target: Target, limit: number): Promise<End> {
  try {
    return await connectServer(target, Math.max(1, limit));
  } catch (cause) {
    const error = cause as NodeJS.ErrnoException;
    throw new MintError(
      'dial-failed',
      `cannot reach ${target.vm} at ${target.host} port ${target.port}: ${reason(error)}`,
      { hint: hintFor(error.code), cause },
    );
  }
}

function reason(error: NodeJS.ErrnoException): string {
  switch (error.code) {
    case 'ECONNREFUSED':
      return 'connection refused';
    case 'EHOSTUNREACH':
    case 'ENETUNREACH':
      return 'no route to it';
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return 'its name does not resolve';
    case 'ETIMEDOUT':
      return 'no answer';
    default:
      return error.code ?? error.message;
  }
}

function hintFor(code: string | undefined): string {
  switch (code) {
    case 'ECONNREFUSED':
      return 'nothing listens there: is the VM still booting, and is `port` in ssh.toml the one sshd listens on?';
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return 'check `host` in ssh.toml, and this machine’s name service';
    default:
      return 'is the VM running, does its security group let this machine in, and is `host` in ssh.toml its address?';
  }
}
