/**
 * Passes the key exchange on and observes it. Only the packet with the host key is held, until the agent has accepted
 * the key. The step ends when both sides have sent their NEWKEYS.
 */
import { writeSync } from 'node:fs';
import { MintError } from '../errors.ts';
import { parseHostKey } from '../ssh/hostkey.ts';
import { KeyExchangeObserver, type ServerEvent } from '../ssh/observer.ts';
import { disconnectPacket } from '../ssh/packet.ts';
import type { AgentClient, Reply } from './agent-client.ts';
import type { ByteStream } from './byte-stream.ts';
import type { ServerConnection } from './connect.ts';
import { ClientLeft, closedByServer, serverTooSlow } from './errors.ts';
import type { Timing } from './timing.ts';

/**
 * From the `SSH-` line to the reply, and from the release of the reply to the server's NEWKEYS. The client's NEWKEYS
 * may take longer: some clients ask the user about the host key first.
 */
const exchangeTimeoutMs = 15_000;
/** How much either side may send unencrypted: several times the largest lines and packets together. */
const maxClearBytes = 512 * 1024;

export interface KeyExchangeOptions {
  readonly client: ByteStream;
  readonly agent: AgentClient;
  readonly timing: Timing;
  /** Receives each decision, with `--verbose`. */
  readonly explain: ((line: string) => void) | undefined;
}

/**
 * @returns what the client sent after its NEWKEYS; the server has not received it
 * @throws MintError `not-ssh`, and what the agent says about the host key
 */
export async function exchangeKeys(
  connection: ServerConnection,
  options: KeyExchangeOptions,
): Promise<Buffer> {
  return await new KeyExchange(connection, options).run();
}

class KeyExchange {
  readonly #options: KeyExchangeOptions;
  readonly #server: ByteStream;
  readonly #host: string;
  readonly #observer = new KeyExchangeObserver();
  /** The client's first bytes that the server has received already. */
  #sentBytes: number;
  readonly #held: Buffer[] = [];
  /** Whether the client has received the server's `SSH-` line and not its NEWKEYS: it takes unencrypted packets. */
  #takesPackets = false;
  #serverBytes = 0;
  #clientBytes = 0;
  #timer: NodeJS.Timeout | undefined;
  readonly #timeout = Promise.withResolvers<never>();

  constructor({ server, candidate, sentBytes }: ServerConnection, options: KeyExchangeOptions) {
    this.#options = options;
    this.#server = server;
    this.#host = candidate.host;
    this.#sentBytes = sentBytes;
  }

  async run(): Promise<Buffer> {
    this.#startClock();
    try {
      const bothDirections = Promise.all([this.#fromServer(), this.#fromClient()]);
      await Promise.race([bothDirections, this.#timeout.promise, this.#options.agent.refusal]);
    } catch (error) {
      this.#server.destroy();
      if (this.#takesPackets && !(error instanceof ClientLeft)) disconnectAtExit();
      throw error;
    } finally {
      this.#stopClock();
    }
    return Buffer.concat(this.#held);
  }

  async #fromServer(): Promise<void> {
    while (!this.#observer.serverOpaque) {
      const chunk = await this.#readServer();
      if (chunk === undefined) throw closedByServer(undefined);
      this.#serverBytes = addBounded(this.#serverBytes, chunk, 'server');
      for (const event of this.#observer.server(chunk)) {
        if (event.type === 'reply') await this.#checkHostKey(event);
        await this.#toClient(event.bytes);
      }
      this.#takesPackets = this.#observer.serverBannerSeen && !this.#observer.serverOpaque;
    }
    this.#stopClock();
  }

  async #fromClient(): Promise<void> {
    for (let isAfterNewKeys = false; !this.#observer.clientOpaque; ) {
      const chunk = await this.#options.client.read().catch(() => undefined);
      if (chunk === undefined) throw new ClientLeft();
      this.#clientBytes = addBounded(this.#clientBytes, chunk, 'client');
      const passed: Buffer[] = [];
      for (const event of this.#observer.client(chunk)) {
        // What follows NEWKEYS goes to the server only after the push has succeeded.
        (isAfterNewKeys ? this.#held : passed).push(event.bytes);
        if (event.type !== 'newkeys') continue;
        isAfterNewKeys = true;
        this.#options.timing.mark('client');
      }
      await this.#toServer(Buffer.concat(passed));
    }
  }

  /** The moment that decides: the reply goes on to the client only after the agent has accepted the key. */
  async #checkHostKey(reply: Extract<ServerEvent, { type: 'reply' }>): Promise<void> {
    const { agent, timing, explain } = this.#options;
    timing.mark('key exchange');
    // All that was before the reply has been passed on, even if it came in the same chunk.
    this.#takesPackets = true;
    this.#stopClock();
    const { outcome } = await agent.checkHostKey(reply.hostKey, reply.signature, this.#host);
    timing.mark('host key');
    explain?.(describeKey(reply, outcome));
    this.#startClock();
  }

  /** A connection that breaks is an end like any other; an endpoint that closes its tunnel says why. */
  async #readServer(): Promise<Buffer | undefined> {
    return await this.#server.read().catch((error: unknown) => {
      if (error instanceof MintError) throw error;
      return undefined;
    });
  }

  /** If the server has gone, the reader notices it. */
  async #toServer(bytes: Buffer): Promise<void> {
    const unsent = bytes.subarray(this.#sentBytes);
    this.#sentBytes -= bytes.length - unsent.length;
    if (unsent.length > 0) await this.#server.write(unsent).catch(() => {});
  }

  async #toClient(bytes: Buffer): Promise<void> {
    try {
      await this.#options.client.write(bytes);
    } catch {
      throw new ClientLeft();
    }
  }

  #startClock(): void {
    this.#stopClock();
    this.#timer = setTimeout(() => {
      this.#timeout.reject(serverTooSlow('the server did not complete the key exchange', exchangeTimeoutMs));
    }, exchangeTimeoutMs);
  }

  #stopClock(): void {
    clearTimeout(this.#timer);
  }
}

/**
 * Tells the client that the connection is over. paramiko would wait for ever, as it does not notice the end of a
 * ProxyCommand. OpenSSH exits at once, so this is sent last, after the messages for the user.
 */
function disconnectAtExit(): void {
  process.once('exit', () => {
    try {
      writeSync(1, disconnectPacket('mint-ssh has ended the connection'));
    } catch {
      // The client has gone.
    }
  });
}

function describeKey(
  { hostKey, keyExchange }: Extract<ServerEvent, { type: 'reply' }>,
  outcome: Reply<'host-key-checked'>['outcome'],
): string {
  const key = `host key ${parseHostKey(hostKey).fingerprint} (${keyExchange})`;
  return outcome === 'match' ? `${key} is pinned` : `${key} is the first one seen`;
}

function addBounded(before: number, chunk: Buffer, side: 'client' | 'server'): number {
  const sum = before + chunk.length;
  if (sum <= maxClearBytes) return sum;
  throw new MintError('not-ssh', `the ${side} sent more than ${maxClearBytes / 1024} KiB before encryption`, {
    unsafe: true,
  });
}
