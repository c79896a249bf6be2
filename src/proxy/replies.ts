/** What the agent is asked for and has not answered yet, and how long it may take. */
import type { AgentReply, AgentRequest, OpenRequest } from '../agent/control/protocol.ts';
import { MintError } from '../errors.ts';
import { AgentRefusal } from './agent-refusal.ts';

/** How long the agent may take to turn a name into an address, in milliseconds. */
const firstAnswerLimit = 8000;
/**
 * How long the agent may say nothing while something is expected of it, in milliseconds: more than the person whom
 * another connection asks takes to answer, with the evidence before it.
 */
const silenceLimit = 50_000;
/** How often that is looked at, in milliseconds. */
const silenceLook = 1000;

export type Reply<T extends AgentReply['type']> = Extract<AgentReply, { type: T }>;

/** At most one request of each kind waits for its reply. It outlives the agent: the next one is asked again. */
export class Replies {
  /** Rejects when the agent refuses, at whatever time that is, and where it is silent; never resolves. */
  readonly refusal: Promise<never>;
  /** Ends whatever is waited for, as a refusal of the agent's does. */
  readonly refuse: (error: unknown) => void;
  readonly #send: (request: AgentRequest) => void;
  readonly #agentLog: string;
  readonly #waiting = new Map<
    AgentReply['type'],
    { readonly request: AgentRequest; readonly resolve: (reply: AgentReply) => void }
  >();
  #limit: NodeJS.Timeout | undefined;
  #heardAt = 0;

  /** @param agentLog named where the agent is silent */
  constructor(send: (request: AgentRequest) => void, agentLog: string) {
    this.#send = send;
    this.#agentLog = agentLog;
    const { promise, reject } = Promise.withResolvers<never>();
    promise.catch(() => {});
    this.refusal = promise;
    this.refuse = reject;
  }

  /** Name → address. @throws MintError `agent-unavailable` where it hangs */
  askTarget(open: OpenRequest): Promise<Reply<'target'>> {
    this.#limitFirst();
    return this.ask('target', open).finally(() => clearTimeout(this.#limit));
  }

  /** @throws MintError the agent's refusal; `agent-unavailable` where it is silent */
  ask<T extends AgentReply['type']>(type: T, request: AgentRequest): Promise<Reply<T>> {
    const reply = new Promise<Reply<T>>((resolve) => {
      this.#waiting.set(type, { request, resolve: resolve as (reply: AgentReply) => void });
    });
    this.#send(request);
    return this.expect(reply);
  }

  /** Waits for a word of the agent's; its refusal, or its silence, ends that. */
  expect<T>(word: Promise<T>): Promise<T> {
    this.#heardAt = performance.now();
    const watch = setInterval(() => {
      if (performance.now() - this.#heardAt > silenceLimit) this.#refuseSilence();
    }, silenceLook);
    return Promise.race([word, this.refusal]).finally(() => clearInterval(watch));
  }

  /** Whether such a reply is waited for. */
  isExpected(type: AgentReply['type']): boolean {
    return this.#waiting.has(type);
  }

  /** To be told whatever the agent says: any word is a sign of life, and some are what is waited for. */
  take(reply: AgentReply): void {
    this.#heardAt = performance.now();
    switch (reply.type) {
      case 'error':
        this.refuse(new AgentRefusal(reply));
        break;
      case 'question':
      case 'secret-question':
        // A person takes longer than an agent.
        clearTimeout(this.#limit);
        break;
      case 'superseded':
      case 'progress':
        // It is at work; or older than we are, and goes: the next one is asked as soon as it has gone.
        if (this.isExpected('target')) this.#limitFirst();
        break;
      default:
        this.#waiting.get(reply.type)?.resolve(reply);
        this.#waiting.delete(reply.type);
    }
  }

  /** Asks a new agent for all that the last one has not answered. */
  askAgain(): void {
    for (const { request } of this.#waiting.values()) this.#send(request);
  }

  #limitFirst(): void {
    clearTimeout(this.#limit);
    this.#limit = setTimeout(() => this.#refuseSilence(), firstAnswerLimit);
  }

  #refuseSilence(): void {
    this.refuse(
      new MintError('agent-unavailable', 'the agent does not answer', {
        hint: `end it; the next connection starts a new one. Its log is ${this.#agentLog}`,
      }),
    );
  }
}
