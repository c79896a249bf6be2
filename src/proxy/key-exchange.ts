/**
 * Step 3: the key exchange passes through and is observed. Only the packet that carries the host key is held,
 * until the agent has judged it; the step ends when both sides have sent their NEWKEYS.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { printable, warn } from '../cli/terminal.ts';
import { MintError } from '../errors.ts';
import type { Way } from '../names/ways.ts';
import { parseHostKey } from '../ssh/hostkey.ts';
import { KeyExchangeObserver, type ServerEvent } from '../ssh/observer.ts';
import type { AgentLink } from './agent-link.ts';
import { isSame, reach } from './dial.ts';
import type { EarlyDial } from './early-dial.ts';
import type { End } from './end.ts';
import type { Timing } from './timing.ts';

/** From the first dial to the server's `SSH-` line, all attempts together, in milliseconds. */
const bannerLimit = 12_000;
/**
 * From the `SSH-` line to the reply, and from the reply's release to the server's NEWKEYS, in milliseconds. The
 * client's NEWKEYS may take longer: some clients ask a person about the host key first.
 */
const exchangeLimit = 15_000;
/** What either side may send in clear, in bytes: several times what lines and packets of the largest sizes come to. */
const clearLimit = 512 * 1024;
const exchangeTooLong = 'the key exchange does not come to its end';

export interface KeyExchangeParts {
  readonly client: End;
  readonly agent: AgentLink;
  readonly timing: Timing;
  /** Told each decision; undefined where nobody wants to know. */
  readonly explain: ((line: string) => void) | undefined;
  readonly vm: string;
  /** What was dialled before the agent had said where. */
  readonly early: EarlyDial | undefined;
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
  return new KeyExchange(parts).run();
}

class KeyExchange {
  readonly #parts: KeyExchangeParts;
  #bannerDeadline = Date.now() + bannerLimit;
  #observer = new KeyExchangeObserver();
  #server: End | undefined;
  /** Where the server is. */
  #target: AgentLink['target'] | undefined;
  /** The one of the target's ways that was taken. */
  #way: Way | undefined;
  /** The agent has said that this is where the VM is: what the server says may go on. */
  #confirmed = false;
  /** What the client said before the server's `SSH-` line came: said again after a redial. */
  #clientFirst: Buffer[] = [];
  #held: Buffer[] = [];
  #serverClear = 0;
  #clientClear = 0;
  #clock: NodeJS.Timeout | undefined;
  #expire: (error: MintError) => void = () => {};

  constructor(parts: KeyExchangeParts) {
    this.#parts = parts;
  }

  async run(): Promise<KeysExchanged> {
    const expired = new Promise<never>((_, reject) => {
      this.#expire = reject;
    });
    try {
      await this.#dial();
      await Promise.race([Promise.all([this.#fromServer(), this.#fromClient()]), expired]);
      // A redial may have replaced it.
      const server = this.#server;
      if (server === undefined) throw new ClientLeft();
      return { server, held: Buffer.concat(this.#held), host: this.#directHost };
    } catch (error) {
      this.#server?.destroy();
      throw error;
    } finally {
      clearTimeout(this.#clock);
    }
  }

  async #dial(): Promise<void> {
    const { vm, agent, timing, explain, early } = this.#parts;
    clearTimeout(this.#clock);
    const patience = {
      left: () => this.#bannerDeadline - Date.now(),
      restart: () => {
        this.#bannerDeadline = Date.now() + bannerLimit;
      },
    };
    const { server, target, way } = await reach(vm, agent, patience, early);
    timing.mark(this.#server === undefined ? 'dial' : 'redial');
    this.#server = server;
    this.#target = target;
    this.#way = way;
    if (target.ways.length > 1) explain?.(`${vm} is reached at ${way.host}${describeWay(way)}`);
    this.#startClock(this.#bannerDeadline - Date.now(), 'the server does not say anything');
  }

  /**
   * Nothing of the server's goes to the client before the agent is sure of the address: until then the connection
   * can still be made anew, elsewhere.
   */
  async #confirm(): Promise<void> {
    const { agent, timing, explain, vm } = this.#parts;
    if (!agent.target.sure) {
      clearTimeout(this.#clock);
      await agent.sure();
      timing.mark('address');
      this.#startClock(this.#bannerDeadline - Date.now(), 'the server does not say anything');
    }
    this.#confirmed = this.#target !== undefined && isSame(agent.target, this.#target);
    if (!this.#confirmed) explain?.(`${vm} is ${hosts(agent.target)} now, no longer ${this.#way?.host}`);
  }

  async #fromServer(): Promise<void> {
    const { timing } = this.#parts;
    for (let attempt = 1; !this.#observer.serverOpaque; ) {
      if (!this.#confirmed) await this.#confirm();
      if (!this.#confirmed) {
        await this.#redial(0);
        continue;
      }
      const chunk = await this.#readServer();
      if (chunk === undefined) {
        if (this.#observer.serverBannerSeen) throw endedByServer(undefined);
        await this.#redial(attempt++);
        continue;
      }
      this.#serverClear = counted(this.#serverClear, chunk, 'server');
      const before = this.#observer.serverBannerSeen;
      const events = this.#observer.server(chunk);
      if (!before && this.#observer.serverBannerSeen) {
        timing.mark('banner');
        this.#clientFirst = [];
        this.#startClock(exchangeLimit, exchangeTooLong);
      }
      for (const event of events) {
        if (event.type === 'reply') await this.#judge(event);
        await this.#toClient(event.bytes);
      }
    }
    clearTimeout(this.#clock);
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
    clearTimeout(this.#clock);
    const { outcome, notice } = await agent.judge(reply.hostKey, reply.signature, this.#way?.host ?? '');
    if (notice !== undefined) warn(notice);
    timing.mark('host key');
    explain?.(describeKey(reply, outcome));
    this.#startClock(exchangeLimit, exchangeTooLong);
  }

  /** A connection that breaks is an end like any other; an endpoint that closes its tunnel says why. */
  async #readServer(): Promise<Buffer | undefined> {
    return await this.#server?.read().catch((error: unknown) => {
      if (error instanceof MintError) throw error;
      return undefined;
    });
  }

  /** Undefined where the connection goes through a tunnel. */
  get #directHost(): string | undefined {
    return this.#way?.kind === 'endpoint' ? undefined : this.#way?.host;
  }

  /** Where the server is gone the reader notices; before the banner it dials again and says all of this again. */
  async #toServer(bytes: Buffer): Promise<void> {
    await this.#server?.write(bytes).catch(() => {});
  }

  async #toClient(bytes: Buffer): Promise<void> {
    try {
      await this.#parts.client.write(bytes);
    } catch {
      throw new ClientLeft();
    }
  }

  /** sshd's MaxStartups drops connections at random: come again, not all at the same moment. 0: at once. */
  async #redial(attempt: number): Promise<void> {
    this.#server?.destroy();
    const notice = this.#observer.serverNotice;
    const pause = attempt === 0 ? 0 : Math.random() * Math.min(100 * 2 ** attempt, 2000);
    if (attempt === 0) this.#bannerDeadline = Date.now() + bannerLimit;
    if (Date.now() + pause >= this.#bannerDeadline) throw endedByServer(notice);
    await sleep(pause);
    this.#confirmed = false;
    await this.#dial();
    this.#observer = new KeyExchangeObserver();
    const events = this.#clientFirst.flatMap((bytes) => this.#observer.client(bytes));
    await this.#toServer(Buffer.concat(events.map((event) => event.bytes)));
  }

  #startClock(milliseconds: number, what: string): void {
    clearTimeout(this.#clock);
    this.#clock = setTimeout(
      () => {
        this.#expire(
          new MintError('not-ssh', `${what} (waited ${Math.round(milliseconds / 1000)} s)`, {
            hint: 'is sshd what listens on that port? `ssh-keyscan -p PORT HOST` asks it directly',
          }),
        );
      },
      Math.max(1, milliseconds),
    );
  }
}

/** The addresses that a target has, each once. */
export function hosts({ ways }: AgentLink['target']): string {
  return [...new Set(ways.map(({ host }) => host))].join(' or ');
}

function describeWay({ kind }: Way): string {
  return kind === 'endpoint' ? ', through an EC2 Instance Connect Endpoint' : '';
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

/** @param notice the last line it said before its `SSH-` line: foreign text */
function endedByServer(notice: string | undefined): MintError {
  const said = notice === undefined ? '' : `, saying ${JSON.stringify(printable(notice).slice(0, 100))}`;
  return new MintError('not-ssh', `the server closed the connection in the key exchange${said}`, {
    hint: 'sshd may be starting, full (MaxStartups) or blocking this address: wait a moment and try again',
  });
}
