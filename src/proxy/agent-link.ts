/** The proxy's line to the agent, which lasts as long as the proxy and outlives the agent. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { ControlConnection } from '../agent/control-client.ts';
import type { AgentReply, AgentRequest, FailureReply, OpenRequest } from '../agent/control-protocol.ts';
import { connectOrStart } from '../agent/start.ts';
import type { Paths } from '../config/paths.ts';
import { MintError } from '../errors.ts';

type Reply<T extends AgentReply['type']> = Extract<AgentReply, { type: T }>;

/** An error that the agent has sent, with a warning to show before it. */
export class AgentRefusal extends MintError {
  readonly warning: string | undefined;

  constructor({ code, message, hint, unsafe, warning }: FailureReply) {
    super(code, message, { hint, unsafe });
    this.warning = warning;
  }
}

/**
 * Asks the agent on behalf of one connection.
 *
 * When the agent dies, the link brings up a new one and tells it what the old one knew: who this is (`open`)
 * and which host key the connection saw (`seen`). An agent that was told to stop is not brought back.
 */
export class AgentLink {
  /** Rejects when the agent refuses, at whatever time that is; never resolves. */
  readonly refusal: Promise<never>;
  readonly #paths: Paths;
  readonly #open: OpenRequest;
  #seen: AgentRequest | undefined;
  #connection: ControlConnection | undefined;
  #waiting = new Map<AgentReply['type'], { request: AgentRequest; resolve: (reply: AgentReply) => void }>();
  #refuse: (error: unknown) => void = () => {};
  #established = false;
  #closed = false;

  constructor(paths: Paths, open: OpenRequest) {
    this.#paths = paths;
    this.#open = open;
    this.refusal = new Promise((_, reject) => {
      this.#refuse = reject;
    });
    this.refusal.catch(() => {});
  }

  /** Connects, starting an agent where none runs. @throws MintError `agent-unavailable`, … */
  async connect(): Promise<void> {
    const connection = await connectOrStart(this.#paths, {
      received: (reply) => this.#receive(reply),
      lost: () => this.#reconnect(),
    });
    if (this.#closed) connection.close();
    else this.#connection = connection;
  }

  /** Name → address; the push begins with it. */
  target(): Promise<Reply<'target'>> {
    return this.#ask('target', this.#open);
  }

  /** Shows the agent the host key of this connection, and the host's signature in the held reply. */
  judge(hostKey: Buffer, signature: Buffer): Promise<Reply<'verdict'>> {
    this.#seen = {
      type: 'seen',
      hostKey: hostKey.toString('base64'),
      signature: signature.toString('base64'),
    };
    return this.#ask('verdict', this.#seen);
  }

  /** Resolves once the key is authorised and will be for long enough. */
  async pushed(): Promise<Reply<'go'>> {
    const go = await this.#ask('go', { type: 'ready' });
    this.#established = true;
    return go;
  }

  /** The client accepted the server's signature: it went on behind its NEWKEYS. */
  proceeded(): void {
    this.#connection?.send({ type: 'proceeded' });
  }

  /** At an early end: was our key listed, and asked for a signature? */
  wasRefused(): Promise<Reply<'refused'>> {
    return this.#ask('refused', { type: 'refused?' });
  }

  close(): void {
    this.#closed = true;
    this.#connection?.close();
  }

  #ask<T extends AgentReply['type']>(type: T, request: AgentRequest): Promise<Reply<T>> {
    const reply = new Promise<Reply<T>>((resolve) => {
      this.#waiting.set(type, { request, resolve: resolve as (reply: AgentReply) => void });
    });
    this.#connection?.send(request);
    return Promise.race([reply, this.refusal]);
  }

  #receive(reply: AgentReply): void {
    if (reply.type === 'error') {
      this.#refuse(new AgentRefusal(reply));
    } else if (reply.type === 'stopping') {
      if (this.#established) this.close();
      else
        this.#refuse(
          new MintError('agent-unavailable', 'the agent was stopped while the connection was being made'),
        );
    } else {
      this.#waiting.get(reply.type)?.resolve(reply);
      this.#waiting.delete(reply.type);
    }
  }

  async #reconnect(): Promise<void> {
    this.#connection = undefined;
    for (let pause = 50; !this.#closed; pause = Math.min(pause * 2, 60_000)) {
      await sleep(Math.random() * pause);
      try {
        await this.connect();
        this.#replay();
        return;
      } catch (error) {
        // An established session does not need the agent: try again, ever less often.
        if (!this.#established) {
          this.#refuse(error);
          return;
        }
      }
    }
  }

  #replay(): void {
    if (!this.#waiting.has('target'))
      this.#connection?.send({ ...this.#open, established: this.#established });
    if (this.#seen !== undefined && !this.#waiting.has('verdict')) this.#connection?.send(this.#seen);
    for (const { request } of this.#waiting.values()) this.#connection?.send(request);
  }
}
