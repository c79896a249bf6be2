/** The proxy's line to the agent, which lasts as long as the proxy and outlives the agent. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { ControlConnection } from '../agent/control/client.ts';
import type { AgentReply, AgentRequest, OpenRequest } from '../agent/control/protocol.ts';
import { connectOrStart } from '../agent/start.ts';
import { printable, warn } from '../cli/terminal.ts';
import { MintError } from '../errors.ts';
import type { Paths } from '../platform/paths.ts';
import { Guide, type Target } from './guide.ts';
import { type Asker, Person } from './person.ts';
import { Replies, type Reply } from './replies.ts';

/** How long the agent's word holds that the key is authorised, in milliseconds: it leaves five times this to log in. */
const goGoodFor = 2000;

/** The agent's word that the key is authorised, and when it came. */
interface Go {
  readonly reply: Reply<'pushed'>;
  readonly at: number;
}

/**
 * Asks the agent on behalf of one connection.
 *
 * When the agent dies, the link brings up a new one and tells it what the old one knew: who this is (`open`)
 * and which host key the connection saw (`seen`). An agent that was told to stop is not brought back.
 */
export class AgentLink {
  /** Where the VM is. */
  readonly guide: Guide;
  readonly #paths: Paths;
  readonly #open: OpenRequest;
  readonly #replies: Replies;
  readonly #person: Person;
  #connection: ControlConnection | undefined;
  #seen: AgentRequest | undefined;
  #verdict: Promise<Reply<'host-key-checked'>> | undefined;
  #go: Promise<Go> | undefined;
  #hasProceeded = false;
  #hasLostAgent = false;
  #established = false;
  #closed = false;

  constructor(paths: Paths, open: OpenRequest, asker: Asker) {
    this.#paths = paths;
    this.#open = open;
    const send = (request: AgentRequest) => this.#connection?.send(request);
    this.#replies = new Replies(send, paths.agentLog);
    this.#person = new Person(asker, send);
    this.guide = new Guide(this.#replies, send);
  }

  /** Rejects when the agent refuses, at whatever time that is; never resolves. */
  get refusal(): Promise<never> {
    return this.#replies.refusal;
  }

  /** Step 1: connects, and asks for the VM by name. @throws MintError `agent-unavailable`, `vm-not-found`, … */
  async open(): Promise<Target> {
    await this.#connect();
    // The push begins with it.
    return this.#replies.askTarget(this.#open);
  }

  /**
   * Shows the agent the host key of this connection, and the host's signature in the held reply.
   * @param host where the connection runs to
   */
  judge(hostKey: Buffer, signature: Buffer, host: string): Promise<Reply<'host-key-checked'>> {
    this.#seen = {
      type: 'check-host-key',
      hostKey: hostKey.toString('base64'),
      signature: signature.toString('base64'),
      host,
    };
    this.#verdict = this.#replies.ask('host-key-checked', this.#seen);
    // Asked as soon as it may be: the answer is there when the client has finished the key exchange.
    this.#go = this.#verdict.then(() => this.#askToGo());
    this.#go.catch(() => {});
    return this.#verdict;
  }

  /** Resolves once the key is authorised and will be for long enough. */
  async pushed(): Promise<Reply<'pushed'>> {
    let go = await this.#go;
    // A new agent has to authorise a key of its own.
    const isGood = !this.#hasLostAgent && go !== undefined && performance.now() - go.at < goGoodFor;
    if (go === undefined || !isGood) go = await this.#askToGo();
    this.#established = true;
    return go.reply;
  }

  async #askToGo(): Promise<Go> {
    return { reply: await this.#replies.ask('pushed', { type: 'await-push' }), at: performance.now() };
  }

  /** The client accepted the server's signature: it went on behind its NEWKEYS. */
  proceeded(): void {
    this.#hasProceeded = true;
    this.#connection?.send({ type: 'client-accepted-host' });
  }

  /** Waits for the person where a question stands: whether the key was accepted after all. */
  async acceptedLate(): Promise<boolean> {
    if ((await this.#person.answer) !== 'yes') return false;
    return (await this.#verdict?.catch(() => undefined)) !== undefined;
  }

  /** Whether the agent that this connection began with has ended, and its key with it. */
  get hasLostAgent(): boolean {
    return this.#hasLostAgent;
  }

  /** At an early end: was our key listed, and asked for a signature? */
  wasRefused(): Promise<Reply<'refusal'>> {
    return this.#replies.ask('refusal', { type: 'explain-refusal' });
  }

  close(): void {
    this.#closed = true;
    this.#person.withdrawSecret();
    this.#connection?.close();
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

  #receive(reply: AgentReply): void {
    if (reply.type === 'target') this.guide.note(reply);
    else if (reply.type === 'question') this.#person.put(reply.question);
    else if (reply.type === 'secret-question') void this.#person.putSecret(reply.question);
    else if (reply.type === 'progress') warn(`mint-ssh: ${printable(reply.line)}`);
    else if (reply.type === 'stopping') this.#stop();
    this.#replies.take(reply);
  }

  #stop(): void {
    if (this.#established) this.close();
    else {
      this.#replies.refuse(
        new MintError('agent-unavailable', 'the agent was stopped while the connection was being made'),
      );
    }
  }

  async #reconnect(): Promise<void> {
    this.#hasLostAgent = true;
    this.#connection = undefined;
    this.#person.withdrawAll();
    for (let pause = 50; !this.#closed; pause = Math.min(pause * 2, 60_000)) {
      await sleep(Math.random() * pause);
      try {
        await this.#connect();
        this.#replay();
        return;
      } catch (error) {
        // An established session does not need the agent: try again, ever less often.
        if (!this.#established) {
          this.#replies.refuse(error);
          return;
        }
      }
    }
  }

  #replay(): void {
    if (!this.#replies.isExpected('target'))
      this.#connection?.send({ ...this.#open, established: this.#established });
    if (this.#seen !== undefined && !this.#replies.isExpected('host-key-checked'))
      this.#connection?.send(this.#seen);
    if (this.#hasProceeded) this.#connection?.send({ type: 'client-accepted-host' });
    this.#replies.askAgain();
  }
}
