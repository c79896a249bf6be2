import { closeSync, constants, openSync, readSync, writeSync } from 'node:fs';

/** No answer is longer, in characters. */
const lineLimit = 1024;

/** The user's terminal. It is polled: the caller checks that it is in the foreground before each call. */
export interface Terminal {
  close(): void;
  /** True once after each SIGCONT, thus after Ctrl-Z and `fg`: what was asked has scrolled away. */
  wasStopped(): boolean;
  /** Whole lines and a line not yet ended. */
  discardInput(): void;
  /**
   * Stops the terminal from showing and editing what is typed; Ctrl-C then comes as a byte. Gives back what
   * undoes it, undefined where the terminal cannot. Like everything here, to be called from the foreground.
   */
  hide(): (() => void) | undefined;
  /** What has been typed while it was hidden; undefined when nothing is there, `end` when the terminal is gone. */
  readHidden(): Buffer | 'end' | undefined;
  write(text: string): void;
  /** False while the terminal takes no more, as after Ctrl-S; tries again at each call. */
  isWritten(): boolean;
  /** The next line; undefined when there is none yet; `end` for Ctrl-D and a terminal that is gone. */
  readLine(): { readonly text: string } | 'end' | undefined;
}

/**
 * The controlling terminal, through a descriptor of our own: that it does not block is not seen by ssh or the
 * shell. To be touched from the foreground alone: the terminal stops a background job that reads.
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

  /** For a line not yet ended the terminal has to be raw for a moment. */
  discardInput(): void {
    const { ReadStream } = process.getBuiltinModule('node:tty');
    this.#unread = '';
    try {
      const stream = new ReadStream(openSync('/dev/tty', constants.O_RDWR | constants.O_NOCTTY));
      // Without a listener a terminal that is gone would end the process.
      stream.on('error', () => {});
      try {
        stream.setRawMode(true);
        while (this.#read() instanceof Buffer);
      } finally {
        // Back to what it was, which in front of a login is canonical with echo.
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
      // Nobody sees it: the next read says that the terminal is gone.
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
