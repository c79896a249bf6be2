/** A WebSocket as a stream of bytes, both ways with back-pressure: what an EC2 Instance Connect Endpoint speaks. */
import { Duplex } from 'node:stream';
import type { WebSocket } from 'ws';
import { printable } from '../cli/terminal.ts';
import { MintError } from '../errors.ts';

/** The largest frame that the endpoint takes, in bytes. */
export const frameLimit = 65_000;
/** The largest message that is taken from it, in bytes: what it sends in one frame fits in many times over. */
export const messageLimit = 1 << 20;

/** RFC 6455 §7.4.1; 1005 stands for a close frame without a code, 1006 for none at all. */
const normalClosure = 1000;
const noCode = 1005;
const noCloseFrame = 1006;
/** As much of a reason as is shown, in characters. */
const reasonLength = 200;

/**
 * Takes over an open WebSocket. Ends when the other side closes it normally; fails with a MintError that shows the
 * reason where it closes it otherwise, with ECONNRESET where the connection breaks.
 */
export class TunnelStream extends Duplex {
  readonly #socket: WebSocket;
  readonly #name: string;
  #failure: Error | undefined;

  /** @param name what it leads through, for messages */
  constructor(socket: WebSocket, name: string) {
    super({ highWaterMark: frameLimit });
    this.#socket = socket;
    this.#name = name;
    socket.on('message', (data, isBinary) => this.#receive(data as Buffer, isBinary));
    // `close` follows, and is the one to be told of.
    socket.on('error', (error) => {
      this.#failure = error;
    });
    socket.on('close', (code, reason) => this.#close(code, reason));
  }

  override _read(): void {
    if (this.#socket.isPaused) this.#socket.resume();
  }

  override _write(chunk: Buffer, _encoding: unknown, done: (error?: Error | null) => void): void {
    const written = (error?: Error | null) => {
      if (!error) done();
      else this.#whenClosed(() => done(gone(error)));
    };
    let at = 0;
    for (; chunk.length - at > frameLimit; at += frameLimit)
      this.#socket.send(chunk.subarray(at, at + frameLimit), { binary: true });
    this.#socket.send(chunk.subarray(at), { binary: true }, written);
  }

  /** A WebSocket has no half-close: the other side answers with its own close, at the latest after 30 s. */
  override _final(done: () => void): void {
    this.#socket.close(normalClosure);
    done();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#socket.terminate();
    done(error);
  }

  /** Why nothing can be written any more is told by how the connection ended, not by what write it cut into. */
  #whenClosed(then: () => void): void {
    if (this.#socket.readyState === this.#socket.CLOSED) then();
    else this.#socket.once('close', then);
  }

  #receive(data: Buffer, isBinary: boolean): void {
    if (!isBinary) {
      this.destroy(this.#malformed('it sent text'));
      return;
    }
    if (data.length > 0 && !this.push(data)) this.#socket.pause();
  }

  #close(code: number, reason: Buffer): void {
    const failure = this.#explain(code, reason);
    if (failure !== undefined) this.destroy(failure);
    else this.push(null);
  }

  #explain(code: number, reason: Buffer): Error | undefined {
    if (this.#failure !== undefined) {
      const { code: name, message } = this.#failure as NodeJS.ErrnoException;
      return name?.startsWith('WS_ERR_') ? this.#malformed(message) : this.#failure;
    }
    if (code === normalClosure || code === noCode) return undefined;
    if (code === noCloseFrame) return Object.assign(new Error('the tunnel broke'), { code: 'ECONNRESET' });
    const text = printable(reason.toString('utf8')).slice(0, reasonLength);
    return new MintError(
      'io-failed',
      `${this.#name} closed the tunnel: ${text === '' ? `code ${code}` : text}`,
      { hint: 'connect again; a tunnel lasts an hour at most, and an endpoint has twenty of them' },
    );
  }

  #malformed(what: string): MintError {
    return new MintError('io-failed', `${this.#name} does not speak as an endpoint does: ${what}`, {
      hint: 'is there a proxy in between that rewrites WebSockets? check HTTPS_PROXY and NO_PROXY',
      cause: this.#failure,
    });
  }
}

/** What is written to a WebSocket that is closing goes nowhere, as it does with a socket that was shut. */
function gone(error: Error): Error {
  return (error as NodeJS.ErrnoException).code === undefined
    ? Object.assign(error, { code: 'EPIPE' })
    : error;
}
