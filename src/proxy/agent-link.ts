/** The proxy's line to the agent, which lasts as long as the proxy and outlives the agent. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { ControlConnection } from '../agent/control-client.ts';
import type {
  AgentReply,
  AgentRequest,
  Answer,
  FailureReply,
  OpenRequest,
  QuestionText,
  SecretAnswer,
  SecretQuestion,
} from '../agent/control-protocol.ts';
import { connectOrStart } from '../agent/start.ts';
import type { TunnelReply } from '../aws/workers.ts';
import { printable, warn } from '../cli/terminal.ts';
import type { Paths } from '../config/paths.ts';
import { MintError } from '../errors.ts';

/** How long the agent may take to turn a name into an address, in milliseconds. */
const firstAnswerLimit = 8000;
/**
 * How long the agent may say nothing while something is expected of it, in milliseconds: more than the person whom
 * another connection asks takes to answer, with the evidence before it.
 */
const silenceLimit = 50_000;
/** How often that is looked at, in milliseconds. */
const silenceLook = 1000;
/** How long the agent's word holds that the key is authorised, in milliseconds: it leaves five times this to log in. */
const goGoodFor = 2000;

/** Puts the agent's questions to whoever sits in front of this proxy. */
export interface Asker {
  ask(question: QuestionText, signal: AbortSignal): Promise<Answer>;
  /** For what is typed without an echo. */
  askSecret(question: SecretQuestion, signal: AbortSignal): Promise<SecretAnswer>;
}

/** The agent's word that the key is authorised, and when it came. */
interface Go {
  readonly reply: Reply<'go'>;
  readonly at: number;
}

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
  readonly #person: Asker;
  #secret: AbortController | undefined;
  #question: { readonly withdraw: AbortController; readonly answer: Promise<Answer> } | undefined;
  #seen: AgentRequest | undefined;
  #verdict: Promise<Reply<'verdict'>> | undefined;
  #go: Promise<Go> | undefined;
  #hasProceeded = false;
  #hasLostAgent = false;
  #connection: ControlConnection | undefined;
  #waiting = new Map<AgentReply['type'], { request: AgentRequest; resolve: (reply: AgentReply) => void }>();
  #refuse: (error: unknown) => void = () => {};
  #latest: Reply<'target'> | undefined;
  #tunnel: Promise<TunnelReply> | undefined;
  #whenSure: (() => void)[] = [];
  #limit: NodeJS.Timeout | undefined;
  #heardAt = 0;
  #established = false;
  #closed = false;

  constructor(paths: Paths, open: OpenRequest, person: Asker) {
    this.#paths = paths;
    this.#person = person;
    this.#open = open;
    this.refusal = new Promise((_, reject) => {
      this.#refuse = reject;
    });
    this.refusal.catch(() => {});
  }

  /** Step 1: connects, and asks for the VM by name. @throws MintError `agent-unavailable`, `vm-not-found`, … */
  async open(): Promise<Reply<'target'>> {
    await this.#connect();
    return this.#target();
  }

  /** Starts an agent where none runs. */
  async #connect(): Promise<void> {
    const connection = await connectOrStart(this.#paths, {
      received: (reply) => this.#receive(reply),
      lost: () => this.#reconnect(),
    });
    if (this.#closed) connection.close();
    else this.#connection = connection;
  }

  /** Name → address; the push begins with it. @throws MintError `agent-unavailable` where it hangs */
  #target(): Promise<Reply<'target'>> {
    this.#expectAnswer();
    return this.#ask('target', this.#open).finally(() => clearTimeout(this.#limit));
  }

  #expectAnswer(): void {
    clearTimeout(this.#limit);
    this.#limit = setTimeout(() => this.#refuseSilence(), firstAnswerLimit);
  }

  #refuseSilence(): void {
    this.#refuse(
      new MintError('agent-unavailable', 'the agent does not answer', {
        hint: `end it; the next connection starts a new one. Its log is ${this.#paths.agentLog}`,
      }),
    );
  }

  /** Waits for a word of the agent's; its refusal, or its silence, ends that. */
  #expect<T>(word: Promise<T>): Promise<T> {
    this.#heardAt = performance.now();
    const watch = setInterval(() => {
      if (performance.now() - this.#heardAt > silenceLimit) this.#refuseSilence();
    }, silenceLook);
    return Promise.race([word, this.refusal]).finally(() => clearInterval(watch));
  }

  /** Where the VM is as far as the agent has said. */
  get target(): Reply<'target'> {
    if (this.#latest === undefined) throw new MintError('agent-unavailable', 'the agent has named no target');
    return this.#latest;
  }

  /** Resolves once the agent is sure of the target. */
  async sure(): Promise<void> {
    while (this.#latest?.sure !== true) {
      await this.#expect(new Promise<void>((resolve) => this.#whenSure.push(resolve)));
    }
  }

  /** Nobody answers at the target: resolves once the agent has said where the VM is now, the same place or another. */
  async retarget(): Promise<void> {
    if (this.#latest?.sure === true) {
      this.#latest = { ...this.#latest, sure: false };
      this.#connection?.send({ type: 'retarget' });
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
    const { tunnel, failure } = await this.#ask('tunnel', { type: 'tunnel' });
    if (tunnel !== undefined) return tunnel;
    throw failure === undefined
      ? new MintError('agent-unavailable', 'the agent says nothing of the tunnel')
      : new AgentRefusal(failure);
  }

  /**
   * Shows the agent the host key of this connection, and the host's signature in the held reply.
   * @param host where the connection runs to
   */
  judge(hostKey: Buffer, signature: Buffer, host: string): Promise<Reply<'verdict'>> {
    this.#seen = {
      type: 'seen',
      hostKey: hostKey.toString('base64'),
      signature: signature.toString('base64'),
      host,
    };
    this.#verdict = this.#ask('verdict', this.#seen);
    // Asked as soon as it may be: the answer is there when the client has finished the key exchange.
    this.#go = this.#verdict.then(() => this.#askToGo());
    this.#go.catch(() => {});
    return this.#verdict;
  }

  /** Resolves once the key is authorised and will be for long enough. */
  async pushed(): Promise<Reply<'go'>> {
    let go = await this.#go;
    // A new agent has to authorise a key of its own.
    const isGood = !this.#hasLostAgent && go !== undefined && performance.now() - go.at < goGoodFor;
    if (go === undefined || !isGood) go = await this.#askToGo();
    this.#established = true;
    return go.reply;
  }

  async #askToGo(): Promise<Go> {
    return { reply: await this.#ask('go', { type: 'ready' }), at: performance.now() };
  }

  /** The client accepted the server's signature: it went on behind its NEWKEYS. */
  proceeded(): void {
    this.#hasProceeded = true;
    this.#connection?.send({ type: 'proceeded' });
  }

  /** Waits for the person where a question stands: whether the key was accepted after all. */
  async acceptedLate(): Promise<boolean> {
    if ((await this.#question?.answer) !== 'yes') return false;
    return (await this.#verdict?.catch(() => undefined)) !== undefined;
  }

  /** Whether the agent that this connection began with has ended, and its key with it. */
  get hasLostAgent(): boolean {
    return this.#hasLostAgent;
  }

  /** At an early end: was our key listed, and asked for a signature? */
  wasRefused(): Promise<Reply<'refused'>> {
    return this.#ask('refused', { type: 'refused?' });
  }

  close(): void {
    this.#closed = true;
    this.#secret?.abort();
    this.#connection?.close();
  }

  #ask<T extends AgentReply['type']>(type: T, request: AgentRequest): Promise<Reply<T>> {
    const reply = new Promise<Reply<T>>((resolve) => {
      this.#waiting.set(type, { request, resolve: resolve as (reply: AgentReply) => void });
    });
    this.#connection?.send(request);
    return this.#expect(reply);
  }

  #receive(reply: AgentReply): void {
    this.#heardAt = performance.now();
    if (reply.type === 'error') {
      this.#refuse(new AgentRefusal(reply));
    } else if (reply.type === 'question') {
      // A person takes longer than an agent.
      clearTimeout(this.#limit);
      this.#put(reply.question);
    } else if (reply.type === 'secret-question') {
      clearTimeout(this.#limit);
      void this.#putSecret(reply.question);
    } else if (reply.type === 'makes-way') {
      // It is older than we are, and goes: the next one is asked as soon as it has gone.
      if (this.#waiting.has('target')) this.#expectAnswer();
    } else if (reply.type === 'progress') {
      warn(`mint-ssh: ${printable(reply.line)}`);
      if (this.#waiting.has('target')) this.#expectAnswer();
    } else if (reply.type === 'stopping') {
      if (this.#established) this.close();
      else
        this.#refuse(
          new MintError('agent-unavailable', 'the agent was stopped while the connection was being made'),
        );
    } else {
      if (reply.type === 'target') this.#noteTarget(reply);
      this.#waiting.get(reply.type)?.resolve(reply);
      this.#waiting.delete(reply.type);
    }
  }

  #noteTarget(target: Reply<'target'>): void {
    this.#latest = target;
    if (!target.sure) return;
    const waiting = this.#whenSure;
    this.#whenSure = [];
    for (const resolve of waiting) resolve();
  }

  #put(text: QuestionText): void {
    const withdraw = new AbortController();
    const answer = this.#person.ask(text, withdraw.signal).catch((): Answer => 'nobody');
    const told = answer.then((said) => {
      if (this.#question?.withdraw !== withdraw) return said;
      this.#connection?.send({ type: 'answer', answer: said });
      this.#question = undefined;
      return said;
    });
    this.#question = { withdraw, answer: told };
  }

  async #putSecret(question: SecretQuestion): Promise<void> {
    const withdraw = new AbortController();
    this.#secret = withdraw;
    const answer = await this.#person
      .askSecret(question, withdraw.signal)
      .catch((): SecretAnswer => 'nobody');
    if (this.#secret === withdraw) this.#connection?.send({ type: 'secret', answer });
    if (typeof answer !== 'string') answer.secret.fill(0);
  }

  async #reconnect(): Promise<void> {
    this.#hasLostAgent = true;
    this.#connection = undefined;
    this.#secret?.abort();
    this.#secret = undefined;
    // A new agent asks anew.
    this.#question?.withdraw.abort();
    this.#question = undefined;
    for (let pause = 50; !this.#closed; pause = Math.min(pause * 2, 60_000)) {
      await sleep(Math.random() * pause);
      try {
        await this.#connect();
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
    if (this.#hasProceeded) this.#connection?.send({ type: 'proceeded' });
    for (const { request } of this.#waiting.values()) this.#connection?.send(request);
  }
}
