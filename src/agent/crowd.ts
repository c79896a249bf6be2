import type { Socket } from 'node:net';

/**
 * The connections of one socket. Those that have not yet said anything whole are held to a number and a
 * time, so that no client, by mistake or malice, uses up the agent's descriptors.
 */
export class Crowd {
  readonly #strangers = new Set<Socket>();
  readonly #limit: number;
  readonly #patience: number;

  /** @param patience milliseconds a connection may take to say something whole */
  constructor({ limit, patience }: { readonly limit: number; readonly patience: number }) {
    this.#limit = limit;
    this.#patience = patience;
  }

  /** The oldest stranger leaves when a new one comes to a full house. */
  join(socket: Socket): void {
    this.#strangers.add(socket);
    const [oldest] = this.#strangers;
    if (oldest !== undefined && this.#strangers.size > this.#limit) {
      // Not at its `close`, which comes later: a hundred may join before.
      this.#strangers.delete(oldest);
      oldest.destroy();
    }
    const timer = setTimeout(() => {
      if (this.#strangers.has(socket)) socket.destroy();
    }, this.#patience).unref();
    socket.once('close', () => {
      clearTimeout(timer);
      this.#strangers.delete(socket);
    });
  }

  /** The connection has said something whole: it may stay. */
  admit(socket: Socket): void {
    this.#strangers.delete(socket);
  }
}
