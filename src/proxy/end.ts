import net from 'node:net';
import type { Readable, Writable } from 'node:stream';

/** What is read at once, in bytes. */
export const bufferSize = 64 * 1024;
/** What is taken in before anyone reads it, in bytes: an end behind it is noticed at once. */
const readAhead = 256 * 1024;
/** How long a server that was told the client's end may say nothing, in milliseconds. */
const idleAfterEnd = 30_000;

/** Takes bytes that are valid only during the call; false: nothing more until the source is resumed. */
export type Receiver = (bytes: Buffer) => boolean;

interface Descriptors {
  readonly source: Readable;
  readonly sink: Writable;
  /** Gives back what the sink holds; the other direction goes on. */
  readonly closeSink: () => void;
}

/**
 * One end of the connection: the client on stdin and stdout (stdio-client.ts), or the server behind TCP.
 *
 * It is read a chunk at a time while the key exchange is observed (`read`), and then as a pipe (`pipeTo`):
 * from then on nothing more is taken in before what was taken has been written.
 */
export class End {
  readonly #source: Readable;
  readonly #sink: Writable;
  readonly #closeSink: () => void;
  #receiver: Receiver | undefined;
  #early: Buffer[] = [];
  #earlyLength = 0;
  #ended = false;
  #failure: Error | undefined;
  #watchers: (() => void)[] = [];
  /** Resolves when this side has gone or broken, even where nobody reads what it said before that. */
  readonly left: Promise<void>;

  constructor(attach: (receive: Receiver) => Descriptors) {
    const { source, sink, closeSink } = attach((bytes) => this.#receive(bytes));
    this.#source = source;
    this.#sink = sink;
    this.#closeSink = closeSink;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.left = promise;
    const end = () => {
      this.#ended = true;
      // A pipe that ended was let go of; a file that ended was only read.
      if (source instanceof net.Socket) resolve();
      this.#notify();
    };
    const fail = (error: Error) => {
      this.#failure ??= error;
      resolve();
      this.#notify();
    };
    source.on('end', end).on('close', end).on('error', fail);
    if ((sink as unknown) !== source) sink.on('error', fail);
    source.resume();
  }

  /** The next bytes, a copy of its own; undefined at the end. @throws the stream's error */
  async read(): Promise<Buffer | undefined> {
    for (;;) {
      const bytes = this.#takeEarly();
      if (bytes !== undefined) return bytes;
      if (this.#failure !== undefined) throw this.#failure;
      if (this.#ended) return undefined;
      this.#source.resume();
      await this.#change();
    }
  }

  /** Resolves when the bytes have left this process. @throws the stream's error, EPIPE among them */
  write(bytes: Buffer): Promise<void> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    return new Promise((resolve, reject) => {
      this.#sink.write(bytes, (error) => (error ? reject(error) : resolve()));
    });
  }

  /** Copies everything to the other end's sink until this source ends. @throws either stream's error */
  async pipeTo(other: End): Promise<void> {
    for (let bytes = this.#takeEarly(); bytes !== undefined; bytes = this.#takeEarly())
      await other.write(bytes);
    const sink = other.#sink;
    let paused = false;
    const resume = () => {
      if (!paused) return;
      paused = false;
      this.#source.resume();
    };
    this.#receiver = (bytes) => {
      sink.write(bytes, resume);
      paused = sink.writableLength > 0;
      return !paused;
    };
    this.#source.resume();
    while (!this.#ended && this.#failure === undefined && other.#failure === undefined) {
      // Not resumed here: what is paused waits for a write out of the one buffer.
      await this.#change(other);
    }
    const failure = this.#failure ?? other.#failure;
    if (failure !== undefined) throw failure;
  }

  /** Half-close: the other side reads an end, and may go on sending. */
  finish(): void {
    this.#closeSink();
  }

  /** Ends both directions at once; whoever reads or writes hears EPIPE. */
  destroy(): void {
    this.#failure ??= Object.assign(new Error('the connection was ended'), { code: 'EPIPE' });
    this.#source.destroy();
    this.#sink.destroy();
    this.#notify();
  }

  #receive(bytes: Buffer): boolean {
    if (this.#receiver !== undefined) return this.#receiver(bytes);
    this.#early.push(Buffer.from(bytes));
    this.#earlyLength += bytes.length;
    this.#notify();
    return this.#earlyLength < readAhead;
  }

  #takeEarly(): Buffer | undefined {
    const bytes = this.#early.shift();
    this.#earlyLength -= bytes?.length ?? 0;
    return bytes;
  }

  /** Resolves when bytes, an end or a failure came here or at the other end. */
  #change(other: End = this): Promise<void> {
    return new Promise((resolve) => {
      this.#watchers.push(resolve);
      if (other !== this) other.#watchers.push(resolve);
    });
  }

  #notify(): void {
    for (const watcher of this.#watchers.splice(0)) watcher();
  }
}

/**
 * The server, once connected.
 * @param address where to dial
 * @param limit how long it may take, in milliseconds
 * @param signal aborted where it is no longer wanted
 * @throws the system's error: ECONNREFUSED, EHOSTUNREACH, …; ETIMEDOUT at the limit
 */
export function connectServer(
  address: { readonly host: string; readonly port: number },
  limit: number,
  signal?: AbortSignal,
): Promise<End> {
  return new Promise((resolve, reject) => {
    const end = new End((receive) => {
      const socket = net.connect({
        ...address,
        noDelay: true,
        allowHalfOpen: true,
        onread: {
          buffer: Buffer.allocUnsafeSlow(bufferSize),
          callback: (length, buffer) => receive((buffer as Buffer).subarray(0, length)),
        },
      });
      const giveUp = () => socket.destroy(timedOut());
      const timer = setTimeout(giveUp, limit);
      signal?.addEventListener('abort', giveUp, { once: true });
      const stopWaiting = () => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', giveUp);
      };
      socket.once('connect', () => {
        stopWaiting();
        resolve(end);
      });
      socket.once('error', (error: NodeJS.ErrnoException) => {
        stopWaiting();
        // Whoever resets was there: it is for the reader to see that the connection stood, and broke.
        if (error.code === 'ECONNRESET') resolve(end);
        else reject(error);
      });
      return {
        source: socket,
        sink: socket,
        closeSink: () => {
          socket.end();
          // sshd answers the client's end with its own. Where the network is gone, TCP would wait for 15 minutes.
          socket.setTimeout(idleAfterEnd, () => socket.destroy(timedOut()));
        },
      };
    });
  });
}

function timedOut(): NodeJS.ErrnoException {
  return Object.assign(new Error('no answer in time'), { code: 'ETIMEDOUT' });
}
