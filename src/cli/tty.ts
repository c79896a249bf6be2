import { closeSync, constants, openSync, readSync, writeSync } from 'node:fs';

/** The longest answer in characters. */
const lineLimit = 1024;

/** The user's terminal. It is polled: the caller checks that it is in the foreground before each call. */
export interface Terminal {
  close(): void;
  /** True once after each SIGCONT (Ctrl-Z and `fg`): the prompt has to be shown again. */
  wasStopped(): boolean;
  /** Discards typed lines, and a line that is not yet complete. */
  discardInput(): void;
  /**
   * Turns off echo and line editing; Ctrl-C then arrives as a byte. To be called in the foreground only.
   *
   * @returns a function that undoes it; undefined if the terminal cannot do it
   */
  hide(): (() => void) | undefined;
  /** The bytes typed without echo; undefined if there are none, `end` if the terminal is gone. */
  readHidden(): Buffer | 'end' | undefined;
  write(text: string): void;
  /**
   * Writes to the terminal.
   * @returns false while it accepts no more (Ctrl-S); each call tries again
   */
  isWritten(): boolean;
  /** The next line; undefined if there is none yet; `end` for Ctrl-D or if the terminal is gone. */
  readLine(): { readonly text: string } | 'end' | undefined;
}

/**
 * Opens the controlling terminal through a descriptor of its own, so that non-blocking mode does not affect ssh or the
 * shell. To be used in the foreground only: the terminal stops a background job that reads.
 */
export class Tty implements Terminal {
  readonly #descriptor: number;
  #unwritten: Buffer = Buffer.alloc(0);
  #unread = '';
  #stopped = false;
  readonly #onContinue = () => {
    this.#stopped = true;
  };

  private constructor(descriptor: number) {
    this.#descriptor = descriptor;
    process.on('SIGCONT', this.#onContinue);
  }

  static open(): Tty | undefined {
    try {
      return new Tty(openSync('/dev/tty', constants.O_RDWR | constants.O_NONBLOCK | constants.O_NOCTTY));
    } catch {
      return undefined;
    }
  }

  close(): void {
    process.off('SIGCONT', this.#onContinue);
    closeSync(this.#descriptor);
  }

  wasStopped(): boolean {
    const stopped = this.#stopped;
    this.#stopped = false;
    return stopped;
  }

  /** Discards input. An incomplete line can only be read in raw mode, so the terminal is raw for a moment. */
  discardInput(): void {
    const { ReadStream } = process.getBuiltinModule('node:tty');
    this.#unread = '';
    try {
      const stream = new ReadStream(openSync('/dev/tty', constants.O_RDWR | constants.O_NOCTTY));
      // Without a listener, the error of a terminal that is gone would end the process.
      stream.on('error', () => {});
      try {
        stream.setRawMode(true);
        while (this.#read() instanceof Buffer);
      } finally {
        // Back to the mode before, which is canonical with echo.
        stream.setRawMode(false);
        stream.destroy();
      }
    } catch {
      while (this.#read() instanceof Buffer);
    }
  }

  hide(): (() => void) | undefined {
    const { ReadStream } = process.getBuiltinModule('node:tty');
    try {
      const stream = new ReadStream(openSync('/dev/tty', constants.O_RDWR | constants.O_NOCTTY));
      stream.on('error', () => {});
      stream.setRawMode(true);
      return () => {
        stream.setRawMode(false);
        stream.destroy();
      };
    } catch {
      return undefined;
    }
  }

  readHidden(): Buffer | 'end' | undefined {
    return this.#read();
  }

  write(text: string): void {
    this.#unwritten = Buffer.concat([this.#unwritten, Buffer.from(text)]);
    this.isWritten();
  }

  isWritten(): boolean {
    try {
      while (this.#unwritten.length > 0) {
        this.#unwritten = this.#unwritten.subarray(writeSync(this.#descriptor, this.#unwritten));
      }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EAGAIN') return false;
      // Ignored: the next read reports that the terminal is gone.
      this.#unwritten = Buffer.alloc(0);
    }
    return true;
  }

  readLine(): { readonly text: string } | 'end' | undefined {
    const bytes = this.#read();
    if (bytes instanceof Buffer) this.#unread += bytes.toString();
    const end = this.#unread.search(/[\r\n]/);
    if (end >= 0) {
      const text = this.#unread.slice(0, end);
      this.#unread = this.#unread.slice(end + 1);
      return { text };
    }
    if (this.#unread.length > lineLimit) {
      this.#unread = '';
      return { text: '(too long)' };
    }
    return bytes === 'end' ? 'end' : undefined;
  }

  #read(): Buffer | 'end' | undefined {
    const buffer = Buffer.alloc(4096);
    try {
      const length = readSync(this.#descriptor, buffer);
      return length === 0 ? 'end' : buffer.subarray(0, length);
    } catch (error) {
      return (error as NodeJS.ErrnoException).code === 'EAGAIN' ? undefined : 'end';
    }
  }
}
