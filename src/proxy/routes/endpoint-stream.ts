/** The bytes of an EC2 Instance Connect Endpoint's WebSocket as a Node stream, with back-pressure in both directions. */
import { Duplex } from 'node:stream';
import type { WebSocket } from 'ws';
import { printable } from '../../cli/terminal.ts';
import { MintError } from '../../errors.ts';

/** The largest frame that the endpoint accepts. */
export const maxFrameBytes = 65_000;
/** The largest message that the proxy accepts; the endpoint's frames are much smaller. */
export const maxMessageBytes = 1 << 20;

/** RFC 6455 §7.4.1; 1005: a close frame without a code; 1006: no close frame. */
const normalClosure = 1000;
const noCode = 1005;
const noCloseFrame = 1006;
/** How many characters of the endpoint's reason are shown. */
const maxReasonLength = 200;

/**
 * Takes over an open WebSocket. The stream ends when the endpoint closes it normally. It fails with a MintError that
 * shows the endpoint's reason if it closes with another code, and with ECONNRESET if the connection breaks.
 */
export class TunnelStream extends Duplex {
  readonly #socket: WebSocket;
  readonly #name: string;
  #failure: Error | undefined;

  /** @param name the endpoint, for messages */
  constructor(socket: WebSocket, name: string) {
    super({ highWaterMark: maxFrameBytes });
    this.#socket = socket;
    this.#name = name;
    socket.on('message', (data, isBinary) => this.#receive(data as Buffer, isBinary));
    // `close` follows; it reports this error.
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
    for (; chunk.length - at > maxFrameBytes; at += maxFrameBytes)
      this.#socket.send(chunk.subarray(at, at + maxFrameBytes), { binary: true });
    this.#socket.send(chunk.subarray(at), { binary: true }, written);
  }

  /** A WebSocket has no half-close: the endpoint replies with its own close, after 30 s at the latest. */
  override _final(done: () => void): void {
    this.#socket.close(normalClosure);
    done();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#socket.terminate();
    done(error);
  }

  /** The close of the connection tells why a write failed, so a failed write waits for it. */
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
    const text = printable(reason.toString('utf8')).slice(0, maxReasonLength);
    return new MintError(
      'io-failed',
      `${this.#name} closed the tunnel: ${text === '' ? `code ${code}` : text}`,
      { hint: 'connect again; a tunnel lasts an hour at most, and an endpoint has twenty of them' },
    );
  }

  #malformed(what: string): MintError {
    return new MintError('io-failed', `${this.#name} does not follow the protocol of an endpoint: ${what}`, {
      hint: 'a proxy in between may rewrite WebSockets: check HTTPS_PROXY and NO_PROXY',
      cause: this.#failure,
    });
  }
}

/** A write to a closing WebSocket fails like a write to a socket that was shut down. */
function gone(error: Error): Error {
  return (error as NodeJS.ErrnoException).code === undefined
    ? Object.assign(error, { code: 'EPIPE' })
    : error;
}
