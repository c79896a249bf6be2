/**
 * Step 3: the key exchange passes through and is observed. Only the packet that carries the host key is held,
 * until the agent has judged it; the step ends when both sides have sent their NEWKEYS.
 */
import { warn } from '../cli/terminal.ts';
import { MintError } from '../errors.ts';
import { parseHostKey } from '../ssh/hostkey.ts';
import { KeyExchangeObserver, type ServerEvent } from '../ssh/observer.ts';
import type { AgentLink } from './agent-link.ts';
import type { Dialled } from './dial.ts';
import type { End } from './end.ts';
import { ExchangeClock } from './exchange-clock.ts';
import { endedByServer, type SearchParts, ServerSearch } from './server-search.ts';

/**
 * From the `SSH-` line to the reply, and from the reply's release to the server's NEWKEYS, in milliseconds. The
 * client's NEWKEYS may take longer: some clients ask a person about the host key first.
 */
const exchangeLimit = 15_000;
/** What either side may send in clear, in bytes: several times what lines and packets of the largest sizes come to. */
const clearLimit = 512 * 1024;
const exchangeTooLong = 'the key exchange does not come to its end';

export interface KeyExchangeParts extends SearchParts {
  readonly client: End;
  readonly agent: AgentLink;
}

export interface KeysExchanged {
  readonly server: End;
  /** What the client sent behind its NEWKEYS; the server has not seen it. */
  readonly held: Buffer;
  /** Where the TCP connection goes; undefined where it goes through a tunnel. */
  readonly host: string | undefined;
}

/** @throws MintError `dial-failed`, `not-ssh`, and what the agent says of the host key */
export async function exchangeKeys(parts: KeyExchangeParts): Promise<KeysExchanged> {
  const clock = new ExchangeClock();
  const search = new ServerSearch(parts, parts.agent.guide, clock);
  try {
    return await new KeyExchange(parts, clock, search, await search.dial()).run();
  } finally {
    clock.stop();
  }
}

class KeyExchange {
  readonly #parts: KeyExchangeParts;
  readonly #clock: ExchangeClock;
  readonly #search: ServerSearch;
  #observer = new KeyExchangeObserver();
  #dialled: Dialled;
  /** The agent has said that this is where the VM is: what the server says may go on. */
  #isConfirmed = false;
  /** What the client said before the server's `SSH-` line came: said again after a redial. */
  #clientFirst: Buffer[] = [];
  #held: Buffer[] = [];
  #serverClear = 0;
  #clientClear = 0;

  constructor(parts: KeyExchangeParts, clock: ExchangeClock, search: ServerSearch, dialled: Dialled) {
    this.#parts = parts;
    this.#clock = clock;
    this.#search = search;
    this.#dialled = dialled;
  }

  async run(): Promise<KeysExchanged> {
    try {
      await Promise.race([Promise.all([this.#fromServer(), this.#fromClient()]), this.#clock.expired]);
    } catch (error) {
      this.#dialled.server.destroy();
      throw error;
    }
    const { server, way } = this.#dialled;
    return {
      server,
      held: Buffer.concat(this.#held),
      host: way.kind === 'endpoint' ? undefined : way.host,
    };
  }

  /**
   * Nothing of the server's goes to the client before the agent is sure of the address: until then the connection
   * can still be made anew, elsewhere.
   */
  async #fromServer(): Promise<void> {
    const { timing } = this.#parts;
    for (let attempt = 1; !this.#observer.serverOpaque; ) {
      this.#isConfirmed ||= await this.#search.confirm(this.#dialled);
      if (!this.#isConfirmed) {
        this.#dialled.server.destroy();
        await this.#beginAnew(await this.#search.follow());
        continue;
      }
      const chunk = await this.#readServer();
      if (chunk === undefined) {
        if (this.#observer.serverBannerSeen) throw endedByServer(undefined);
        this.#dialled.server.destroy();
        await this.#beginAnew(await this.#search.comeAgain(attempt++, this.#observer.serverNotice));
        continue;
      }
      this.#serverClear = counted(this.#serverClear, chunk, 'server');
      const before = this.#observer.serverBannerSeen;
      const events = this.#observer.server(chunk);
      if (!before && this.#observer.serverBannerSeen) {
        timing.mark('banner');
        this.#clientFirst = [];
        this.#clock.start(exchangeLimit, exchangeTooLong);
      }
      for (const event of events) {
        if (event.type === 'reply') await this.#judge(event);
        await this.#toClient(event.bytes);
      }
    }
    this.#clock.stop();
  }

  async #fromClient(): Promise<void> {
    for (let hold = false; !this.#observer.clientOpaque; ) {
      const chunk = await this.#parts.client.read().catch(() => undefined);
      if (chunk === undefined) throw new ClientLeft();
      this.#clientClear = counted(this.#clientClear, chunk, 'client');
      // From here to the write nothing may wait: a redial in between would say these bytes twice.
      if (!this.#observer.serverBannerSeen) this.#clientFirst.push(chunk);
      const passed: Buffer[] = [];
      for (const event of this.#observer.client(chunk)) {
        // Behind NEWKEYS nothing goes to the server until the push has succeeded.
        (hold ? this.#held : passed).push(event.bytes);
        if (event.type !== 'newkeys') continue;
        hold = true;
        this.#parts.timing.mark('client');
      }
      await this.#toServer(Buffer.concat(passed));
    }
  }

  /** The one moment that decides: the reply goes on to the client only after the agent has accepted the key. */
  async #judge(reply: Extract<ServerEvent, { type: 'reply' }>): Promise<void> {
    const { agent, timing, explain } = this.#parts;
    timing.mark('key exchange');
    this.#clock.stop();
    const { host } = this.#dialled.way;
    const { outcome, notice } = await agent.judge(reply.hostKey, reply.signature, host);
    if (notice !== undefined) warn(notice);
    timing.mark('host key');
    explain?.(describeKey(reply, outcome));
    this.#clock.start(exchangeLimit, exchangeTooLong);
  }

  /** With another server, to which all that the client has said is said again. */
  async #beginAnew(dialled: Dialled): Promise<void> {
    this.#dialled = dialled;
    this.#isConfirmed = false;
    this.#observer = new KeyExchangeObserver();
    const events = this.#clientFirst.flatMap((bytes) => this.#observer.client(bytes));
    await this.#toServer(Buffer.concat(events.map((event) => event.bytes)));
  }

  /** A connection that breaks is an end like any other; an endpoint that closes its tunnel says why. */
  async #readServer(): Promise<Buffer | undefined> {
    return await this.#dialled.server.read().catch((error: unknown) => {
      if (error instanceof MintError) throw error;
      return undefined;
    });
  }

  /** Where the server is gone the reader notices; before the banner it dials again and says all of this again. */
  async #toServer(bytes: Buffer): Promise<void> {
    await this.#dialled.server.write(bytes).catch(() => {});
  }

  async #toClient(bytes: Buffer): Promise<void> {
    try {
      await this.#parts.client.write(bytes);
    } catch {
      throw new ClientLeft();
    }
  }
}

function describeKey(
  { hostKey, keyExchange }: Extract<ServerEvent, { type: 'reply' }>,
  outcome: 'match' | 'unknown',
): string {
  const key = `host key ${parseHostKey(hostKey).fingerprint} (${keyExchange})`;
  return outcome === 'match' ? `${key} is the one that is pinned` : `${key} is the first one seen`;
}

function counted(before: number, chunk: Buffer, side: 'client' | 'server'): number {
  const sum = before + chunk.length;
  if (sum <= clearLimit) return sum;
  throw new MintError('not-ssh', `the ${side} sent more than ${clearLimit / 1024} KiB before encryption`, {
    unsafe: true,
  });
}

/** The client went away before the connection stood; there is no one left to tell. */
export class ClientLeft extends Error {}
