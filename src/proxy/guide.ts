/** Where the VM is, as far as the agent has said, and the ways that lead there. */
import type { AgentRequest } from '../agent/control/protocol.ts';
import type { TunnelReply } from '../aws/workers.ts';
import { MintError } from '../errors.ts';
import { AgentRefusal } from './agent-refusal.ts';
import type { Replies, Reply } from './replies.ts';

export type Target = Reply<'target'>;

export class Guide {
  readonly #replies: Replies;
  readonly #send: (request: AgentRequest) => void;
  #latest: Target | undefined;
  #whenSure: (() => void)[] = [];
  #tunnel: Promise<TunnelReply> | undefined;

  constructor(replies: Replies, send: (request: AgentRequest) => void) {
    this.#replies = replies;
    this.#send = send;
  }

  /** @throws MintError `agent-unavailable` before the agent's first word */
  get target(): Target {
    if (this.#latest === undefined) throw new MintError('agent-unavailable', 'the agent has named no target');
    return this.#latest;
  }

  /** The agent has said where the VM is. */
  note(target: Target): void {
    this.#latest = target;
    if (!target.sure) return;
    const waiting = this.#whenSure;
    this.#whenSure = [];
    for (const resolve of waiting) resolve();
  }

  /** Resolves once the agent is sure of the target. */
  async sure(): Promise<void> {
    while (this.#latest?.sure !== true) {
      await this.#replies.expect(new Promise<void>((resolve) => this.#whenSure.push(resolve)));
    }
  }

  /** Nobody answers at the target: resolves once the agent has said where the VM is now, the same place or another. */
  async retarget(): Promise<void> {
    if (this.#latest?.sure === true) {
      this.#latest = { ...this.#latest, sure: false };
      this.#send({ type: 'retarget' });
    }
    await this.sure();
  }

  /** The address of a tunnel through the VPC's endpoint. @throws MintError where there is none */
  tunnel(): Promise<TunnelReply> {
    // One at a time: where the VM turned out to be elsewhere, an earlier answer leads to where it was.
    const before = this.#tunnel;
    this.#tunnel = this.#askTunnel(before);
    return this.#tunnel;
  }

  async #askTunnel(before: Promise<unknown> | undefined): Promise<TunnelReply> {
    await before?.catch(() => {});
    const { tunnel, failure } = await this.#replies.ask('tunnel', { type: 'tunnel' });
    if (tunnel !== undefined) return tunnel;
    throw failure === undefined
      ? new MintError('agent-unavailable', 'the agent says nothing of the tunnel')
      : new AgentRefusal(failure);
  }
}

/** A VM that was started, or made anew, is another target even where its address stays. */
export function isSame(one: Target, other: Target): boolean {
  return one.serial === other.serial && JSON.stringify(one.candidates) === JSON.stringify(other.candidates);
}

/** The addresses that a target has, each once. */
export function hosts({ candidates }: Target): string {
  return [...new Set(candidates.map(({ host }) => host))].join(' or ');
}
