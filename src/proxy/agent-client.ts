/**
 * The proxy's control connection to the agent: it sends the requests of one SSH connection and waits for the replies.
 *
 * When the agent dies, the client starts another one and tells it what the old one knew: which VM this is (`open`)
 * and which host key the connection saw (`check-host-key`). It does not restart an agent that was told to stop.
 */
import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { type ControlConnection, connectOrStart } from '../agent/control/client.ts';
import {
  type AgentReply,
  type AgentRequest,
  type OpenRequest,
  protocolVersion,
} from '../agent/control/protocol.ts';
import type { TunnelReply } from '../aws/requests.ts';
import type { Invocation } from '../cli/command.ts';
import { printable, warn } from '../cli/terminal.ts';
import { MintError } from '../errors.ts';
import { callerEnvironment, sessionKey } from '../platform/caller.ts';
import type { Paths } from '../platform/paths.ts';
import { userAgentSocket } from '../platform/user-agent-socket.ts';
import { vmName } from '../settings/vm-name.ts';
import { AgentRefusal, agentSilent, agentStopped, notConfigured, RefusalNotice } from './errors.ts';
import { TerminalTasks } from './terminal-tasks.ts';

/** The form of `InstanceOSUser` in SendSSHPublicKey; a digit may come first. */
const userForm = /^[\w][\w@.-]{0,30}[\w$-]?$/;

/** How long the agent may take to resolve a name to an address. */
const firstReplyTimeoutMs = 8000;
/**
 * How long the agent may send nothing while a reply is due. It is longer than a user takes to answer the question of
 * another connection to the same VM, with the evidence gathered first.
 */
const silenceTimeoutMs = 50_000;
const silenceCheckMs = 1000;
/** How long a `pushed` reply stays valid. The key lives five times as long, so the login has time to complete. */
const pushedValidMs = 2000;

export type Reply<T extends AgentReply['type']> = Extract<AgentReply, { type: T }>;

export type Target = Reply<'target'>;

/** What the command line of a proxy says. */
export type CommandLine = Omit<OpenRequest, 'type' | 'version' | 'environment' | 'session' | 'established'>;

type Waiting = { readonly request: AgentRequest; readonly resolve: (reply: AgentReply) => void };

/** `at`: when the reply came, by `performance.now()`. */
type Pushed = { readonly reply: Reply<'pushed'>; readonly at: number };

export class AgentClient {
  /** Rejects when the agent refuses the connection, whenever that is, or stops replying; never resolves. */
  readonly refusal: Promise<never>;
  /** What the user is told if the VM refuses the key. */
  readonly refusalNotice = new RefusalNotice();
  readonly #refuse: (error: unknown) => void;
  readonly #paths: Paths;
  readonly #open: OpenRequest;
  #connection: ControlConnection | undefined;
  #isEstablished = false;
  #isClosed = false;
  #hasLostAgent = false;

  /** At most one request for each type of reply. They outlive the agent: the next agent is asked again. */
  readonly #waiting = new Map<AgentReply['type'], Waiting>();
  #firstReplyTimer: NodeJS.Timeout | undefined;
  #heardAt = 0;

  #target: Target | undefined;
  #whenSure: (() => void)[] = [];
  #tunnel: Promise<TunnelReply> | undefined;

  #hostKeyRequest: AgentRequest | undefined;
  #hostKeyChecked: Promise<Reply<'host-key-checked'>> | undefined;
  #pushed: Promise<Pushed> | undefined;
  #hasAcceptedHost = false;

  readonly #tasks: TerminalTasks;

  /** @param said what `open` sends, with the AWS settings, the shell and the ssh-agent of this process added */
  constructor(paths: Paths, said: CommandLine) {
    this.#paths = paths;
    this.#open = {
      type: 'open',
      version: protocolVersion,
      ...said,
      upstreamAgent: said.upstreamAgent ?? userAgentSocket(paths.run),
      environment: callerEnvironment(process.env),
      session: sessionKey(process.env),
      established: false,
    };
    this.#tasks = new TerminalTasks(paths, (request) => this.#connection?.send(request));
    const { promise, reject } = Promise.withResolvers<never>();
    promise.catch(() => {});
    this.refusal = promise;
    this.#refuse = reject;
  }

  /**
   * Connects to the agent, starting one if none runs, and resolves the VM's name. The agent begins the push.
   * @throws MintError `agent-unavailable`, `vm-not-found` and other refusals of the agent
   */
  async open(): Promise<Target> {
    await this.#connect();
    this.#limitFirstReply();
    return await this.#ask('target', this.#open).finally(() => clearTimeout(this.#firstReplyTimer));
  }

  /**
   * Where the VM is, by the agent's latest reply.
   * @throws MintError `agent-unavailable` before the first one
   */
  get target(): Target {
    if (this.#target === undefined)
      throw new MintError('agent-unavailable', 'the agent has not sent a target');
    return this.#target;
  }

  /** Resolves once the target is sure. */
  async confirmTarget(): Promise<void> {
    while (this.#target?.sure !== true) {
      await this.#expect(new Promise<void>((resolve) => this.#whenSure.push(resolve)));
    }
  }

  /** Tells the agent that the target does not answer. Resolves once the agent is sure of a target, old or new. */
  async retarget(): Promise<void> {
    if (this.#target?.sure === true) {
      this.#target = { ...this.#target, sure: false };
      this.#connection?.send({ type: 'retarget' });
    }
    await this.confirmTarget();
  }

  /**
   * Asks for a tunnel through an EC2 Instance Connect Endpoint of the VM's VPC.
   * @throws AgentRefusal why there is none
   */
  tunnel(): Promise<TunnelReply> {
    // One request at a time: after the VM has moved, the reply to an earlier one leads to the old place.
    const previous = this.#tunnel;
    this.#tunnel = this.#askTunnel(previous);
    return this.#tunnel;
  }

  /**
   * Shows the agent the host key of this connection.
   * @param hostKey K_S of the held key exchange reply
   * @param signature the host's signature in that reply
   * @param host the address that the connection goes to
   * @throws MintError `host-key-changed`, `host-key-unverified`, `host-key-type` and others: why the agent blocks the key
   */
  checkHostKey(hostKey: Buffer, signature: Buffer, host: string): Promise<Reply<'host-key-checked'>> {
    this.#hostKeyRequest = {
      type: 'check-host-key',
      hostKey: hostKey.toString('base64'),
      signature: signature.toString('base64'),
      host,
    };
    this.#hostKeyChecked = this.#ask('host-key-checked', this.#hostKeyRequest);
    // Ask as early as possible: the reply is there when the client has finished the key exchange.
    this.#pushed = this.#hostKeyChecked.then(() => this.#awaitPush());
    this.#pushed.catch(() => {});
    return this.#hostKeyChecked;
  }

  /** Resolves once the VM accepts the key, and will accept it long enough for the login. */
  async pushed(): Promise<Reply<'pushed'>> {
    let pushed = await this.#pushed;
    // A new agent has to push a key of its own.
    const isValid =
      !this.#hasLostAgent && pushed !== undefined && performance.now() - pushed.at < pushedValidMs;
    if (pushed === undefined || !isValid) pushed = await this.#awaitPush();
    this.#isEstablished = true;
    return pushed.reply;
  }

  /** Tells the agent that the client has accepted the host's signature. */
  clientAcceptedHost(): void {
    this.#hasAcceptedHost = true;
    this.#connection?.send({ type: 'client-accepted-host' });
  }

  /**
   * If the user is being asked about a changed key: waits for the answer.
   * @returns whether the key was accepted
   */
  async acceptedLate(): Promise<boolean> {
    if ((await this.#tasks.answer) !== 'yes') return false;
    return (await this.#hostKeyChecked?.catch(() => undefined)) !== undefined;
  }

  /** Whether the agent that this connection began with has ended, and its key with it. */
  get hasLostAgent(): boolean {
    return this.#hasLostAgent;
  }

  /** After a connection that ended early: asks whether the VM refused the key. */
  explainRefusal(): Promise<Reply<'refusal'>> {
    return this.#ask('refusal', { type: 'explain-refusal' });
  }

  /**
   * The client is about to offer its key: gets the words for the case that the VM refuses it. ssh exits at once then,
   * and what is written later appears after the shell's next prompt.
   */
  prepareRefusal(): Promise<void> {
    return this.#ask('refusal', { type: 'prepare-refusal' }).then(
      () => {},
      () => {},
    );
  }

  close(): void {
    this.#isClosed = true;
    this.#tasks.close();
    this.#connection?.close();
  }

  async #connect(): Promise<void> {
    const connection = await connectOrStart(this.#paths, {
      received: (reply) => this.#receive(reply),
      lost: () => this.#reconnect(),
    });
    if (this.#isClosed) connection.close();
    else this.#connection = connection;
  }

  async #reconnect(): Promise<void> {
    this.#hasLostAgent = true;
    this.#connection = undefined;
    this.#tasks.withdraw();
    for (let pauseMs = 50; !this.#isClosed; pauseMs = Math.min(pauseMs * 2, 60_000)) {
      await sleep(Math.random() * pauseMs);
      try {
        await this.#connect();
        this.#replay();
        return;
      } catch (error) {
        // An established session does not need the agent: keep trying, at growing intervals.
        if (!this.#isEstablished) {
          this.#refuse(error);
          return;
        }
      }
    }
  }

  /** Tells a new agent what the last one knew, and asks it what the last one has not replied to. */
  #replay(): void {
    const send = (request: AgentRequest) => this.#connection?.send(request);
    if (!this.#waiting.has('target')) send({ ...this.#open, established: this.#isEstablished });
    if (this.#hostKeyRequest !== undefined && !this.#waiting.has('host-key-checked'))
      send(this.#hostKeyRequest);
    if (this.#hasAcceptedHost) send({ type: 'client-accepted-host' });
    for (const { request } of this.#waiting.values()) send(request);
  }

  #receive(reply: AgentReply): void {
    this.#heardAt = performance.now();
    switch (reply.type) {
      case 'error':
        this.#refuse(new AgentRefusal(reply));
        break;
      case 'stopping':
        if (this.#isEstablished) this.close();
        else this.#refuse(agentStopped());
        break;
      case 'question':
        // A user takes longer to answer than the agent.
        clearTimeout(this.#firstReplyTimer);
        this.#tasks.ask(reply.question);
        break;
      case 'secret-question':
        clearTimeout(this.#firstReplyTimer);
        void this.#tasks.askSecret(reply.question);
        break;
      case 'progress':
        if (reply.line !== undefined) warn(`mint-ssh: ${printable(reply.line)}`);
        this.#extendFirstReply();
        break;
      case 'resolve-credentials':
        this.#tasks.startCredentials(reply);
        this.#extendFirstReply();
        break;
      case 'superseded':
        // The agent exits; `lost` follows, and then the next agent is asked.
        this.#extendFirstReply();
        break;
      case 'target':
        this.#noteTarget(reply);
        break;
      case 'refusal':
        // It may come without a request: the agent knows a better reason than the prepared one.
        this.refusalNotice.prepare(reply.words);
        break;
      default:
    }
    this.#waiting.get(reply.type)?.resolve(reply);
    this.#waiting.delete(reply.type);
  }

  #noteTarget(target: Target): void {
    this.#target = target;
    if (!target.sure) return;
    for (const resolve of this.#whenSure.splice(0)) resolve();
  }

  /** @throws MintError what the agent refuses with; `agent-unavailable` if it does not reply */
  #ask<T extends AgentReply['type']>(type: T, request: AgentRequest): Promise<Reply<T>> {
    const reply = new Promise<Reply<T>>((resolve) => {
      this.#waiting.set(type, { request, resolve: resolve as (reply: AgentReply) => void });
    });
    this.#connection?.send(request);
    return this.#expect(reply);
  }

  /** Waits for a reply; a refusal or a silent agent ends the wait. */
  #expect<T>(reply: Promise<T>): Promise<T> {
    this.#heardAt = performance.now();
    const watch = setInterval(() => {
      if (performance.now() - this.#heardAt > silenceTimeoutMs) this.#refuseSilence();
    }, silenceCheckMs);
    return Promise.race([reply, this.refusal]).finally(() => clearInterval(watch));
  }

  async #awaitPush(): Promise<Pushed> {
    return { reply: await this.#ask('pushed', { type: 'await-push' }), at: performance.now() };
  }

  async #askTunnel(previous: Promise<unknown> | undefined): Promise<TunnelReply> {
    await previous?.catch(() => {});
    const { tunnel, failure } = await this.#ask('tunnel', { type: 'tunnel' });
    if (tunnel !== undefined) return tunnel;
    throw failure === undefined
      ? new MintError('agent-unavailable', 'the agent sent neither a tunnel nor a reason')
      : new AgentRefusal(failure);
  }

  #limitFirstReply(): void {
    clearTimeout(this.#firstReplyTimer);
    this.#firstReplyTimer = setTimeout(() => this.#refuseSilence(), firstReplyTimeoutMs);
  }

  #extendFirstReply(): void {
    if (this.#waiting.has('target')) this.#limitFirstReply();
  }

  #refuseSilence(): void {
    this.#refuse(agentSilent(this.#paths.agentLog));
  }
}

/**
 * Reads VM, PORT, USER and the options from the command line.
 * @throws MintError `usage`; `bad-vm-name`; `vm-not-found` if no VM is known at all
 */
export function readRequest(
  { positionals, values, globals }: Invocation,
  paths: Paths,
  usage: string,
): CommandLine {
  const [vm, port, user, ...more] = positionals;
  if (vm === undefined || more.length > 0) {
    throw new MintError('usage', vm === undefined ? 'missing argument: VM' : 'too many arguments', {
      hint: `usage: mint-ssh ${usage}`,
    });
  }
  const portNumber = port === undefined ? undefined : Number(/^\d{1,5}$/.exec(port)?.[0]);
  if (portNumber !== undefined && !(portNumber > 0 && portNumber < 65_536)) {
    throw new MintError('usage', 'invalid PORT: must be 1 to 65535');
  }
  if (user !== undefined && !userForm.test(user)) {
    throw new MintError('usage', `invalid USER: "${printable(user.slice(0, 40))}"`, {
      hint: 'a user name has letters, digits and @ . _ -, at most 32',
    });
  }
  const name = vmName(vm);
  // Without any file of ours or Mint's no name can mean anything, so no agent is started.
  const isByName = values['by-name'] === true;
  if (
    !isByName &&
    ![paths.sshToml, paths.configToml, paths.sshConfig, paths.jobs].some((path) => existsSync(path))
  ) {
    throw notConfigured(name, paths.sshToml);
  }
  return {
    vm: name,
    port: portNumber,
    user,
    profile: globals.profile,
    region: globals.region,
    upstreamAgent: values['upstream-agent'] as string | undefined,
    byName: isByName,
  };
}
