/** The two ends of the connection as byte streams: the SSH client on stdin and stdout, and the VM's server. */
import { createReadStream, createWriteStream, fstatSync } from 'node:fs';
import net from 'node:net';
import type { Readable, Writable } from 'node:stream';
import { system } from '../platform/system/system.ts';

/** How many bytes are read at once. */
export const bufferBytes = 64 * 1024;
/** How many bytes are buffered before anything reads them, so that an end behind them is noticed at once. */
const maxUnreadBytes = 256 * 1024;

/**
 * Takes bytes that are valid only during the call.
 * @returns false to pause the source until it is resumed
 */
export type Receiver = (bytes: Buffer) => boolean;

interface Descriptors {
  readonly source: Readable;
  readonly sink: Writable;
  /** Sends the end on the sink; the other direction stays open. */
  readonly closeSink: () => void;
}

/**
 * A byte stream in both directions. During the key exchange the proxy reads it chunk by chunk (`read`); afterwards it
 * is a pipe (`pipeTo`), which takes in nothing before the previous bytes have been written.
 */
export class ByteStream {
  readonly #source: Readable;
  readonly #sink: Writable;
  readonly #closeSink: () => void;
  #receiver: Receiver | undefined;
  #unread: Buffer[] = [];
  #unreadBytes = 0;
  #hasEnded = false;
  #failure: Error | undefined;
  #watchers: (() => void)[] = [];
  /** Resolves when the peer has gone or the stream broke, even if nothing has read its last bytes. */
  readonly left: Promise<void>;

  constructor(attach: (receive: Receiver) => Descriptors) {
    const { source, sink, closeSink } = attach((bytes) => this.#receive(bytes));
    this.#source = source;
    this.#sink = sink;
    this.#closeSink = closeSink;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.left = promise;
    const end = () => {
      this.#hasEnded = true;
      // The end of a pipe means that the peer has closed it; the end of a file means nothing.
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

  /**
   * @returns the next bytes, as a copy; undefined at the end
   * @throws the stream's error
   */
  async read(): Promise<Buffer | undefined> {
    for (;;) {
      const bytes = this.#takeUnread();
      if (bytes !== undefined) return bytes;
      if (this.#failure !== undefined) throw this.#failure;
      if (this.#hasEnded) return undefined;
      this.#source.resume();
      await this.#change();
    }
  }

  /** All bytes that have arrived and were not read yet. They stay unread. */
  get unread(): Buffer {
    return this.#unread.length === 1 ? (this.#unread[0] as Buffer) : Buffer.concat(this.#unread);
  }

  /**
   * Waits for bytes without reading them.
   * @param length how many unread bytes the caller has seen already
   * @returns true once there are more; false if the stream has ended first
   * @throws the stream's error
   */
  async waitForMore(length: number): Promise<boolean> {
    for (;;) {
      if (this.#unreadBytes > length) return true;
      if (this.#failure !== undefined) throw this.#failure;
      if (this.#hasEnded) return false;
      if (this.#unreadBytes < maxUnreadBytes) this.#source.resume();
      await this.#change();
    }
  }

  /**
   * Resolves when the bytes have left this process.
   * @throws the stream's error, such as EPIPE
   */
  write(bytes: Buffer): Promise<void> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    return new Promise((resolve, reject) => {
      this.#sink.write(bytes, (error) => (error ? reject(error) : resolve()));
    });
  }

  /**
   * Copies everything to the sink of `other` until this source ends.
   * @throws the error of either stream
   */
  async pipeTo(other: ByteStream): Promise<void> {
    for (let bytes = this.#takeUnread(); bytes !== undefined; bytes = this.#takeUnread())
      await other.write(bytes);
    const sink = other.#sink;
    let isPaused = false;
    const resume = () => {
      if (!isPaused) return;
      isPaused = false;
      this.#source.resume();
    };
    this.#receiver = (bytes) => {
      sink.write(bytes, resume);
      isPaused = sink.writableLength > 0;
      return !isPaused;
    };
    this.#source.resume();
    while (!this.#hasEnded && this.#failure === undefined && other.#failure === undefined) {
      // Do not resume here: a paused source waits for the write of its one buffer.
      await this.#change(other);
    }
    const failure = this.#failure ?? other.#failure;
    if (failure !== undefined) throw failure;
  }

  /** Half-close: the peer reads an end and may go on sending. */
  finish(): void {
    this.#closeSink();
  }

  /** Ends both directions at once; pending reads and writes fail with EPIPE. */
  destroy(): void {
    this.#failure ??= Object.assign(new Error('the connection was ended'), { code: 'EPIPE' });
    this.#source.destroy();
    this.#sink.destroy();
    this.#notify();
  }

  #receive(bytes: Buffer): boolean {
    if (this.#receiver !== undefined) return this.#receiver(bytes);
    this.#unread.push(Buffer.from(bytes));
    this.#unreadBytes += bytes.length;
    this.#notify();
    return this.#unreadBytes < maxUnreadBytes;
  }

  #takeUnread(): Buffer | undefined {
    const bytes = this.#unread.shift();
    this.#unreadBytes -= bytes?.length ?? 0;
    return bytes;
  }

  /** Resolves on new bytes, an end or a failure, here or in `other`. */
  #change(other: ByteStream = this): Promise<void> {
    return new Promise((resolve) => {
      this.#watchers.push(resolve);
      if (other !== this) other.#watchers.push(resolve);
    });
  }

  #notify(): void {
    for (const watcher of this.#watchers.splice(0)) watcher();
  }
}

/** In a file's mode (S_IFMT, S_IFIFO); `fs.constants` has the second one on Unix only. */
const fileTypeMask = 0o170_000;
const pipeType = 0o010_000;

/** @returns the SSH client: stdin and stdout of this process, which ssh makes pipes and others may make files */
export function stdioClient(): ByteStream {
  return new ByteStream((receive) => {
    const source = isPipe(0) ? pipeSource(receive) : fileSource(receive);
    const sink = isPipe(1)
      ? new net.Socket({ fd: 1, readable: false, writable: true })
      : createWriteStream('', { fd: 1, autoClose: false });
    return { source, sink, closeSink: () => closeStdout(sink, source) };
  });
}

function isPipe(descriptor: number): boolean {
  const status = fstatSync(descriptor);
  // On Windows isFIFO() is always false.
  return (status.mode & fileTypeMask) === pipeType || status.isSocket();
}

function pipeSource(receive: Receiver): Readable {
  const onread = {
    buffer: Buffer.allocUnsafeSlow(bufferBytes),
    callback: (length: number, buffer: Uint8Array) => receive((buffer as Buffer).subarray(0, length)),
  };
  return new net.Socket({ fd: 0, readable: true, writable: false, onread });
}

function fileSource(receive: Receiver): Readable {
  const source = createReadStream('', { fd: 0, autoClose: false, highWaterMark: bufferBytes });
  source.on('data', (bytes) => {
    if (!receive(bytes as Buffer)) source.pause();
  });
  return source.pause();
}

/**
 * libuv never closes descriptors 0 to 2, so the client would wait forever for the end. If stdout cannot be closed by
 * hand either, the client sees the end when this process exits, so the proxy stops reading from it.
 */
function closeStdout(sink: Writable, source: Readable): void {
  sink.destroy();
  try {
    if (!system.closeStandardOutput(1)) source.destroy();
  } catch {
    // It was closed already.
  }
}
