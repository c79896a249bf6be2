import type { ChildProcess } from 'node:child_process';
import { noSsh } from '../ssh-config/ssh-client.ts';

/** What a .bashrc may print before the script's first line. */
const longestNoise = 1 << 18;
const longestLine = 4096;

/** The stdout of a session: our script's lines among whatever else is printed there, and bytes between them. */
export class RemoteOutput {
  readonly #child: ChildProcess;
  readonly #mark: Buffer;
  readonly #chunks: AsyncIterator<Buffer>;
  readonly #closed: Promise<unknown>;
  #failure: unknown;
  #pending: Buffer = Buffer.alloc(0);

  /** @param mark what each line of the script begins with */
  constructor(child: ChildProcess, mark: string) {
    this.#child = child;
    this.#mark = Buffer.from(mark);
    if (child.stdout === null) throw new TypeError('stdout must be a pipe');
    this.#chunks = child.stdout[Symbol.asyncIterator]();
    this.#closed = new Promise((resolve) => {
      child.once('close', resolve);
      child.once('error', (error) => {
        this.#failure = error;
        resolve(error);
      });
    });
  }

  /** The next line of the script without its mark; undefined when the session ends before one. */
  async line(): Promise<string | undefined> {
    for (;;) {
      const start = this.#pending.indexOf(this.#mark);
      const end = start < 0 ? -1 : this.#pending.indexOf('\n', start);
      if (end >= 0) {
        const text = this.#pending.toString('utf8', start + this.#mark.length, end);
        this.#pending = this.#pending.subarray(end + 1);
        return text;
      }
      if (this.#pending.length > (start < 0 ? longestNoise : start + longestLine)) return undefined;
      if (!(await this.#more())) return undefined;
    }
  }

  /** Exactly this many; undefined when the session ends before. */
  async bytes(count: number): Promise<Buffer | undefined> {
    while (this.#pending.length < count) {
      if (!(await this.#more())) return undefined;
    }
    const taken = this.#pending.subarray(0, count);
    this.#pending = this.#pending.subarray(count);
    return taken;
  }

  /** Waits for the session to end, and ends it where it does not. @throws MintError `io-failed` where it never started */
  async end(): Promise<void> {
    const limit = setTimeout(() => this.#child.kill('SIGKILL'), 5_000);
    // What is still to come is of no interest, and must not hold it up.
    await this.#chunks.return?.();
    await this.#closed;
    clearTimeout(limit);
    if (this.#failure !== undefined) throw noSsh(this.#failure);
  }

  async #more(): Promise<boolean> {
    const { done, value } = await this.#chunks.next();
    if (done) return false;
    this.#pending = Buffer.concat([this.#pending, value]);
    return true;
  }
}
