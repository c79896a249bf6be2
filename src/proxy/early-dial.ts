/** Dials where the VM was last, beside the question of where it is: the answer is nearly always the same. */
import type { Address } from '../vms/last-address.ts';
import { connectServer, type End } from './end.ts';

/**
 * How long a connection is kept for an answer, in milliseconds. What takes longer than an agent's start takes a person,
 * or a VM that has to be started: then the address says nothing any more.
 */
const keepTime = 2000;

/** Nothing is said on the connection, and nothing it says is read, before the agent has named the same address. */
export class EarlyDial {
  readonly #address: Address;
  readonly #server: Promise<End | undefined>;
  readonly #given = new AbortController();
  readonly #timer: NodeJS.Timeout;
  #isOver = false;

  constructor(address: Address) {
    this.#address = address;
    this.#server = connectServer(address, keepTime, this.#given.signal).catch(() => undefined);
    this.#timer = setTimeout(() => this.discard(), keepTime).unref();
  }

  /**
   * The connection where it leads there, once; undefined where one has to be made.
   * @param signal aborted where it is no longer wanted
   */
  async take({ host, port }: Address, signal?: AbortSignal): Promise<End | undefined> {
    if (this.#isOver || host !== this.#address.host || port !== this.#address.port) return undefined;
    this.#isOver = true;
    clearTimeout(this.#timer);
    signal?.addEventListener('abort', () => this.#given.abort(), { once: true });
    return await this.#server;
  }

  /** Ends it where nobody took it. */
  discard(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    clearTimeout(this.#timer);
    this.#given.abort();
    void this.#server.then((server) => server?.destroy());
  }
}
