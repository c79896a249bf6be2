/**
 * A socket that `ssh -A` forwards. The first message of each connection decides which ssh-agent of the user it reaches
 * (forward.ts). Then all bytes are passed on, that message included.
 */
import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { upstreamSocket } from '../platform/user-agent-socket.ts';
import { AgentFrames, failureReply, identitiesAnswer, parseAgentRequest } from '../ssh/agent-messages.ts';
import { parseSessionBind, type SessionBind, sessionBindName } from '../ssh/session-bind.ts';
import type { Log } from './context.ts';
import { type Listener, listen, PendingConnections } from './listener.ts';

/** More than a VM can need. Further connections are refused. */
const clientLimit = 256;
/** How long to retry while the queue of the user's agent is full. */
const queueLimitMs = 1000;

export interface ForwardSocketOptions {
  readonly path: string;
  readonly runDirectory: string;
  readonly log: Log;
  /** Returns the path of the user's agent, or undefined. Called for every connection, with the session that it named first. */
  readonly route: (bind: SessionBind | undefined) => Promise<string | undefined>;
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

  /** Opens the socket, also if another program removed it. Never rejects. */
  ensure(): Promise<void> {
    if (this.#making === undefined && this.#listener?.isInPlace()) return Promise.resolve();
    this.#making ??= this.#listen().finally(() => {
      this.#making = undefined;
    });
    return this.#making;
  }

  /** Leaves a file in place of the socket: ssh checks before it starts anything that the path exists. */
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
    // It never rejects: an agent that does not answer counts as none.
    void this.#serve(client);
  }

  async #serve(client: Socket): Promise<void> {
    const { first, bytes } = await firstMessage(client);
    this.#pending.accept(client);
    if (client.destroyed) return;
    const upstream = await this.#reach(bindIn(first));
    if (client.destroyed) upstream?.destroy();
    else if (upstream === undefined) answerEmpty(client, bytes);
    else {
      upstream.write(bytes);
      join(client, upstream);
    }
  }

  async #reach(bind: SessionBind | undefined): Promise<Socket | undefined> {
    try {
      const path = await this.#options.route(bind);
      const real = path === undefined ? undefined : upstreamSocket(path, this.#options.runDirectory);
      return real === undefined ? undefined : await connected(real);
    } catch (error) {
      // The user may be editing the settings.
      this.#options.log(`forwards no agent: ${(error as Error).message}`);
      return undefined;
    }
  }
}

/**
 * Reads until the kind of the first message is known, and then pauses the client.
 * @returns `first`: the first message if it is an extension; `bytes`: everything that the client has sent
 */
function firstMessage(
  client: Socket,
): Promise<{ readonly first: Buffer | undefined; readonly bytes: Buffer }> {
  return new Promise((resolve) => {
    const frames = new AgentFrames();
    const chunks: Buffer[] = [];
    const settle = (first?: Buffer) => {
      client.off('data', take).pause();
      resolve({ first, bytes: Buffer.concat(chunks) });
    };
    const take = (chunk: Buffer) => {
      chunks.push(chunk);
      let message: Buffer | undefined;
      try {
        [message] = frames.push(chunk);
      } catch {
        // Not the agent protocol: the user's agent handles that.
        return settle();
      }
      // The fifth byte is the kind of message. Only an extension names a session.
      const kind = message?.[0] ?? (chunks.length === 1 ? chunk[4] : Buffer.concat(chunks)[4]);
      if (message !== undefined || (kind !== undefined && kind !== extensionNumber)) settle(message);
    };
    client
      .on('data', take)
      .once('end', () => settle())
      .once('close', () => settle());
  });
}

/** SSH_AGENTC_EXTENSION. */
const extensionNumber = 27;

/** @returns the session that a message names; undefined for a malformed message */
function bindIn(message: Buffer | undefined): SessionBind | undefined {
  if (message === undefined) return undefined;
  try {
    const request = parseAgentRequest(message);
    if (request.type !== 'extension' || request.name !== sessionBindName) return undefined;
    return parseSessionBind(request.contents);
  } catch {
    return undefined;
  }
}

async function connected(path: string): Promise<Socket | undefined> {
  for (const deadline = performance.now() + queueLimitMs; ; await sleep(10)) {
    const outcome = await new Promise<Socket | string>((resolve) => {
      const socket = connect({ path, allowHalfOpen: true });
      const failed = ({ code = '' }: NodeJS.ErrnoException) => resolve(code);
      socket.once('error', failed).once('connect', () => {
        socket.off('error', failed);
        resolve(socket);
      });
    });
    if (typeof outcome !== 'string') return outcome;
    // The queue of the socket is full.
    if (outcome !== 'EAGAIN' || performance.now() > deadline) return undefined;
  }
}

/** Joins both sockets. No message is read or changed, so extensions, locks and constraints work as usual. */
function join(client: Socket, upstream: Socket): void {
  upstream.on('error', () => client.destroy());
  client.once('close', () => upstream.destroy());
  upstream.once('close', () => {
    // Its last bytes may still be on the way to the client.
    if (!upstream.readableEnded) client.destroy();
  });
  if (client.readableEnded) upstream.end();
  else client.pipe(upstream);
  upstream.pipe(client);
}

/**
 * Answers as an agent without keys: an ssh on the VM continues with its other methods and prints no error.
 * @param bytes what the client has sent already
 */
function answerEmpty(client: Socket, bytes: Buffer): void {
  const frames = new AgentFrames();
  const take = (chunk: Buffer) => {
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
  };
  client.on('data', take).once('end', () => client.end());
  take(bytes);
  if (client.readableEnded) client.end();
  else client.resume();
}
