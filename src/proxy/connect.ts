/**
 * From the candidates that the agent names to a server that has sent its `SSH-` line.
 *
 * One loop and one deadline cover everything that can happen on the way: a candidate does not answer, the VM turns out
 * to be elsewhere, sshd drops the connection (MaxStartups). Until this step is done the client has seen nothing of the
 * server, so the proxy can start again with another connection.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { MintError } from '../errors.ts';
import { Identification } from '../ssh/identification.ts';
import { KeyExchangeObserver } from '../ssh/observer.ts';
import { type Candidate, isDirect } from '../vms/candidates.ts';
import type { AgentClient, Target } from './agent-client.ts';
import type { ByteStream } from './byte-stream.ts';
import { AgentRefusal, closedByServer, noneReached, serverTooSlow } from './errors.ts';
import { direct, type EarlyDial } from './routes/direct.ts';
import { endpoint } from './routes/endpoint.ts';
import { AllFailed, race } from './routes/happy-eyeballs.ts';
import type { Route } from './routes/route.ts';
import { via } from './routes/via.ts';
import type { Timing } from './timing.ts';

/** From the first dial to the server's `SSH-` line, all attempts together. */
const bannerTimeoutMs = 12_000;
/** A server that answers at all connects faster than this; after it the proxy asks the agent whether the VM has moved. */
const doubtAfterMs = 1500;
/**
 * How long the sshd of a VM that was just started may take, and how often it is tried. Behind an endpoint the agent
 * cannot see when sshd is up.
 */
const bootTimeoutMs = 60_000;
const bootPauseMs = 2000;

const routes: Readonly<Record<Candidate['kind'], Route>> = { public: direct, private: direct, endpoint, via };

export interface ConnectOptions {
  readonly vm: string;
  readonly runDir: string;
  readonly client: ByteStream;
  readonly agent: AgentClient;
  readonly timing: Timing;
  /** Receives each decision, with `--verbose`. */
  readonly explain: ((line: string) => void) | undefined;
  /** The connection that was begun before the agent had named a target. */
  readonly early: EarlyDial | undefined;
}

export interface ServerConnection {
  readonly server: ByteStream;
  readonly candidate: Candidate;
  /** How many of the client's unread bytes the server has been sent already. */
  readonly sentBytes: number;
}

type Attempt =
  | { readonly kind: 'answered'; readonly connection: ServerConnection }
  /** The agent named another target. */
  | { readonly kind: 'moved' }
  /** The server closed the connection before its `SSH-` line. `notice`: the last line that it sent. */
  | { readonly kind: 'dropped'; readonly notice: string | undefined }
  | { readonly kind: 'unreachable'; readonly error: unknown };

/**
 * Connects to the VM and waits for the server's `SSH-` line, which stays unread.
 * @throws MintError `dial-failed`, `not-ssh`, and what the agent says
 */
export async function connect(options: ConnectOptions): Promise<ServerConnection> {
  const { agent } = options;
  const startedAt = performance.now();
  const deadline = new Deadline(bannerTimeoutMs);
  let drops = 0;
  for (;;) {
    const { target } = agent;
    const attempt = await attemptTarget(options, target, deadline);
    switch (attempt.kind) {
      case 'answered':
        return attempt.connection;

      case 'moved':
        // This is not a failure: the other machine gets the whole time.
        options.explain?.(`${options.vm} has moved to ${hostsOf(agent.target)}`);
        deadline.restart();
        break;

      case 'dropped': {
        // sshd's MaxStartups drops connections at random: retry, but not all clients at the same moment.
        drops += 1;
        const pauseMs = Math.random() * Math.min(100 * 2 ** drops, 2000);
        if (deadline.leftMs <= pauseMs) throw closedByServer(attempt.notice);
        await sleep(pauseMs);
        break;
      }

      case 'unreachable':
        await agent.retarget();
        // The target may be sure only because EC2 did not answer in time. Now the agent waits longer for it.
        if (!target.sure && isSameTarget(agent.target, target)) await agent.retarget();
        if (isSameTarget(agent.target, target)) {
          const isBooting =
            mayBeBooting(attempt.error, target) && performance.now() - startedAt < bootTimeoutMs;
          if (!isBooting) throw attempt.error;
          await sleep(bootPauseMs);
        }
        deadline.restart();
    }
  }
}

/**
 * One connection to one target.
 * @throws MintError `not-ssh` if the server breaks the protocol or sends nothing in time
 */
async function attemptTarget(options: ConnectOptions, target: Target, deadline: Deadline): Promise<Attempt> {
  const { agent, client, timing, explain, vm } = options;
  const dialling = dialTarget(options, target, deadline.leftMs);
  const dialled = await Promise.race([dialling, moved(agent, target, dialling)]).catch((error: unknown) => ({
    error,
  }));
  if (dialled === 'moved' || 'error' in dialled)
    dialling.then(({ server }) => server.destroy()).catch(() => {});
  if (dialled === 'moved') return { kind: 'moved' };
  if ('error' in dialled) return { kind: 'unreachable', error: dialled.error };
  const { server, candidate } = dialled;
  timing.markDial();
  // Indirect routes have received the first bytes already, in their own time.
  if (!isDirect(candidate)) deadline.restart();
  if (target.candidates.length > 1 || candidate.kind === 'via')
    explain?.(`connected to ${vm} at ${candidate.host}${describe(candidate)}`);
  const opening = new Opening(client, server);
  try {
    // The server is not to blame for the time that the agent takes.
    const waitedMs = await confirm(agent, timing);
    deadline.extend(waitedMs);
    if (!isSameTarget(agent.target, target)) {
      server.destroy();
      return { kind: 'moved' };
    }
    const banner = Promise.race([readBanner(server), opening.failure]);
    const notice = await deadline.limit(banner, 'the server sent no SSH version line');
    if (notice !== 'banner') {
      server.destroy();
      return { kind: 'dropped', notice: notice.last };
    }
    timing.mark('banner');
    return { kind: 'answered', connection: { server, candidate, sentBytes: opening.stop() } };
  } catch (error) {
    server.destroy();
    throw error;
  } finally {
    opening.stop();
  }
}

/**
 * Dials all candidates of a target, the better ones first.
 * @param leftMs how long all of it may take
 * @returns the first connection that is established
 * @throws MintError `dial-failed`, AgentRefusal
 */
export async function dialTarget(
  {
    vm,
    runDir,
    agent,
    early,
  }: Pick<ConnectOptions, 'vm' | 'runDir' | 'early'> & { readonly agent: Pick<AgentClient, 'tunnel'> },
  { candidates, port }: Pick<Target, 'candidates' | 'port'>,
  leftMs: number,
): Promise<{ readonly server: ByteStream; readonly candidate: Candidate }> {
  const until = performance.now() + leftMs;
  const contenders = candidates.map((candidate, at) => ({
    headStartMs: at === 0 ? 0 : routes[candidate.kind].headStartMs(candidate, candidates[at - 1]),
    start: async (signal: AbortSignal) => {
      const timeoutMs = Math.max(1, until - performance.now());
      const request = { vm, port, runDir, timeoutMs, tunnel: () => agent.tunnel(), early };
      return { server: await routes[candidate.kind].dial(candidate, request, signal), candidate };
    },
  }));
  try {
    return await race(contenders, ({ server }) => server.destroy());
  } catch (error) {
    throw error instanceof AllFailed ? noneReached(vm, error.failures) : error;
  } finally {
    early?.discard();
  }
}

/** Resolves if the agent names another target while the dial lasts; asks the agent when the dial takes long. */
async function moved(agent: AgentClient, target: Target, dialling: Promise<unknown>): Promise<'moved'> {
  const over = new AbortController();
  const end = () => over.abort();
  dialling.then(end, end);
  const doubt = sleep(doubtAfterMs, undefined, { signal: over.signal, ref: false }).then(() =>
    agent.retarget(),
  );
  doubt.catch(() => {});
  for (const reply of [agent.confirmTarget(), doubt]) {
    await reply;
    if (!isSameTarget(agent.target, target)) return 'moved';
  }
  return await new Promise<never>(() => {});
}

/**
 * Waits until the agent is sure of its target.
 * @returns how long that took, in milliseconds
 */
async function confirm(agent: AgentClient, timing: Timing): Promise<number> {
  if (agent.target.sure) return 0;
  const from = performance.now();
  await agent.confirmTarget();
  timing.mark('address');
  return performance.now() - from;
}

/**
 * Waits for the server's `SSH-` line without reading it.
 * @returns `banner`, or the last line before the server closed the connection
 * @throws MintError `not-ssh`; what an endpoint closes its tunnel with
 */
async function readBanner(server: ByteStream): Promise<'banner' | { readonly last: string | undefined }> {
  const identification = new Identification('server');
  let seen = 0;
  for (;;) {
    const hasMore = await server.waitForMore(seen).catch((error: unknown) => {
      if (error instanceof MintError) throw error;
      // A connection that breaks is closed like any other.
      return false;
    });
    if (!hasMore) return { last: identification.lastLine };
    const { unread } = server;
    if (identification.push(unread.subarray(seen)) !== undefined) return 'banner';
    seen = unread.length;
  }
}

/**
 * Sends the client's first bytes to a server from which nothing has come yet, because the server's key exchange waits
 * for them. The bytes stay unread in the client: another server gets them again.
 */
class Opening {
  /** Rejects with `not-ssh` if the client does not speak SSH; never resolves. */
  readonly failure: Promise<never>;
  readonly #client: ByteStream;
  readonly #server: ByteStream;
  #sentBytes = 0;
  #isOver = false;

  constructor(client: ByteStream, server: ByteStream) {
    this.#client = client;
    this.#server = server;
    const { promise, reject } = Promise.withResolvers<never>();
    promise.catch(() => {});
    this.failure = promise;
    this.#send().catch(reject);
  }

  /** @returns how many bytes were sent */
  stop(): number {
    this.#isOver = true;
    return this.#sentBytes;
  }

  async #send(): Promise<void> {
    const observer = new KeyExchangeObserver();
    // A client that has gone is noticed by the caller of `connect`.
    for (let seen = 0; await this.#client.waitForMore(seen).catch(() => false); ) {
      if (this.#isOver) return;
      const { unread } = this.#client;
      const events = observer.client(unread.subarray(seen));
      seen = unread.length;
      const newKeys = events.findIndex(({ type }) => type === 'newkeys');
      // What follows the client's NEWKEYS waits in the push gate.
      const bytes = Buffer.concat(
        (newKeys < 0 ? events : events.slice(0, newKeys + 1)).map((event) => event.bytes),
      );
      this.#sentBytes += bytes.length;
      // If the server has gone, `readBanner` notices it.
      this.#server.write(bytes).catch(() => {});
      if (newKeys >= 0) return;
    }
  }
}

/** The time until which the server has to have sent its `SSH-` line. */
class Deadline {
  readonly #timeoutMs: number;
  #at = 0;

  constructor(timeoutMs: number) {
    this.#timeoutMs = timeoutMs;
    this.restart();
  }

  get leftMs(): number {
    return this.#at - performance.now();
  }

  restart(): void {
    this.#at = performance.now() + this.#timeoutMs;
  }

  extend(byMs: number): void {
    this.#at += byMs;
  }

  /**
   * @param what what the server did not do, in words
   * @throws MintError `not-ssh` at the deadline
   */
  async limit<T>(step: Promise<T>, what: string): Promise<T> {
    const { promise: late, reject } = Promise.withResolvers<never>();
    const timer = setTimeout(() => reject(serverTooSlow(what, this.#timeoutMs)), Math.max(1, this.leftMs));
    return await Promise.race([step, late]).finally(() => clearTimeout(timer));
  }
}

/** The VM was started for this connection, and only a route on which the agent cannot see its sshd leads there. */
function mayBeBooting(error: unknown, { serial, candidates }: Target): boolean {
  return (
    serial > 0 && candidates.some((candidate) => !isDirect(candidate)) && !(error instanceof AgentRefusal)
  );
}

function describe({ kind, via: jumpHost }: Candidate): string {
  if (kind === 'via') return `, through ${jumpHost}`;
  return kind === 'endpoint' ? ', through an EC2 Instance Connect Endpoint' : '';
}

/** Whether both targets are the same machine. A VM that was started or replaced has another serial. */
export function isSameTarget(one: Target, other: Target): boolean {
  return one.serial === other.serial && JSON.stringify(one.candidates) === JSON.stringify(other.candidates);
}

/** @returns the addresses of a target for a message, each once */
export function hostsOf({ candidates }: Target): string {
  return [...new Set(candidates.map(({ host }) => host))].join(' or ');
}
