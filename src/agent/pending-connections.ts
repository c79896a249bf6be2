import type { Socket } from 'node:net';

/**
 * The connections to one socket that have not sent a complete message yet. Their number and their age are limited, so
 * that no client, by mistake or malice, uses up the agent's descriptors.
 */
export class PendingConnections {
  readonly #pending = new Set<Socket>();
  readonly #limit: number;
  readonly #timeoutMs: number;

  /** @param options `timeoutMs`: how long a connection may take to send its first complete message */
  constructor({ limit, timeoutMs }: { readonly limit: number; readonly timeoutMs: number }) {
    this.#limit = limit;
    this.#timeoutMs = timeoutMs;
  }

  /** Adds a new connection. At the limit it evicts the oldest one that has not sent a complete message. */
  add(socket: Socket): void {
    this.#pending.add(socket);
    const [oldest] = this.#pending;
    if (oldest !== undefined && this.#pending.size > this.#limit) {
      // Remove it now: its `close` comes later, and many may connect before that.
      this.#pending.delete(oldest);
      oldest.destroy();
    }
    const timer = setTimeout(() => {
      if (this.#pending.has(socket)) socket.destroy();
    }, this.#timeoutMs).unref();
    socket.once('close', () => {
      clearTimeout(timer);
      this.#pending.delete(socket);
    });
  }

  /** The connection has sent a complete message and may stay. */
  accept(socket: Socket): void {
    this.#pending.delete(socket);
  }
}
