/** A socket that `ssh -A` forwards: each connection to it reaches the user's own agent, byte for byte. */
import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { AgentFrames, failureReply, identitiesAnswer, parseAgentRequest } from '../ssh/agent-messages.ts';
import { type Listener, listen } from './listener.ts';
import type { Log } from './log.ts';
import { PendingConnections } from './pending-connections.ts';
import { upstreamSocket } from './upstream.ts';

/** More than a VM can have any use for; beyond it newcomers are turned away. */
const clientLimit = 256;
/** How long a crowd before the user's agent is waited for, in milliseconds. */
const crowdLimit = 1000;

export interface ForwardSocketOptions {
  readonly path: string;
  readonly runDirectory: string;
  readonly log: Log;
  /** Where the user's agent may be, the likeliest first; asked anew for every connection. */
  readonly upstreams: () => readonly string[];
}

export class ForwardSocket {
  readonly #options: ForwardSocketOptions;
  readonly #clients = new Set<Socket>();
  readonly #pending = new PendingConnections({ limit: 64, timeoutMs: 60_000 });
  #listener: Listener | undefined;
  #making: Promise<void> | undefined;

  constructor(options: ForwardSocketOptions) {
    this.#options = options;
  }

  /** Puts the socket in its place, also where it was removed behind our back. Never rejects. */
  ensure(): Promise<void> {
    if (this.#making === undefined && this.#listener?.isInPlace()) return Promise.resolve();
    this.#making ??= this.#listen().finally(() => {
      this.#making = undefined;
    });
    return this.#making;
  }

  /** Leaves a file: ssh looks at the path before it starts anything, and only whether something is there. */
  close(): void {
    this.#listener?.leaveFile();
    this.#listener?.close();
    for (const client of this.#clients) client.destroy();
  }

  async #listen(): Promise<void> {
    const { path, runDirectory, log } = this.#options;
    this.#listener?.close();
    try {
      this.#listener = await listen(path, runDirectory, (client) => this.#accept(client), { halfOpen: true });
    } catch (error) {
      log(`cannot forward an agent: ${(error as Error).message}`);
    }
  }

  #accept(client: Socket): void {
    if (this.#clients.size >= clientLimit) {
      client.destroy();
      return;
    }
    this.#clients.add(client);
    client.once('close', () => this.#clients.delete(client));
    this.#pending.add(client);
    // Nothing in it can fail: what does not answer is no agent.
    void this.#serve(client);
  }

  async #serve(client: Socket): Promise<void> {
    const upstream = await this.#reach();
    if (client.destroyed) upstream?.destroy();
    else if (upstream === undefined) answerEmpty(client);
    else join(client, upstream);
    client.once('data', () => this.#pending.accept(client));
  }

  /** The first of the user's agents that answers. */
  async #reach(): Promise<Socket | undefined> {
    for (const path of this.#candidates()) {
      const real = upstreamSocket(path, this.#options.runDirectory);
      const upstream = real === undefined ? undefined : await connected(real);
      if (upstream !== undefined) return upstream;
    }
    return undefined;
  }

  #candidates(): readonly string[] {
    try {
      return this.#options.upstreams();
    } catch (error) {
      // Settings that someone is just editing.
      this.#options.log(`forwards no agent: ${(error as Error).message}`);
      return [];
    }
  }
}

async function connected(path: string): Promise<Socket | undefined> {
  for (const deadline = performance.now() + crowdLimit; ; await sleep(10)) {
    const outcome = await new Promise<Socket | string>((resolve) => {
      const socket = connect({ path, allowHalfOpen: true });
      const failed = ({ code = '' }: NodeJS.ErrnoException) => resolve(code);
      socket.once('error', failed).once('connect', () => {
        socket.off('error', failed);
        resolve(socket);
      });
    });
    if (typeof outcome !== 'string') return outcome;
    // More wait to be accepted than the kernel keeps for a socket.
    if (outcome !== 'EAGAIN' || performance.now() > deadline) return undefined;
  }
}

/** Nothing is read or changed: extensions, locks and constraints are between the two ends. */
function join(client: Socket, upstream: Socket): void {
  upstream.on('error', () => client.destroy());
  client.once('close', () => upstream.destroy());
  upstream.once('close', () => {
    // What it said last may still be on its way to the client.
    if (!upstream.readableEnded) client.destroy();
  });
  client.pipe(upstream);
  upstream.pipe(client);
}

/** An agent that holds nothing: an ssh on the VM goes on with its other methods, and says nothing about it. */
function answerEmpty(client: Socket): void {
  const frames = new AgentFrames();
  client.on('data', (chunk) => {
    try {
      for (const message of frames.push(chunk)) {
        const isList = parseAgentRequest(message).type === 'request-identities';
        client.write(isList ? identitiesAnswer([]) : failureReply());
      }
      if (client.writableNeedDrain) {
        client.pause();
        client.once('drain', () => client.resume());
      }
    } catch {
      client.destroy();
    }
  });
  client.once('end', () => client.end());
}
