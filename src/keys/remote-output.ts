import type { ChildProcess } from 'node:child_process';
import { noSsh } from '../ssh-config/ssh-client.ts';

/** How much output of a .bashrc is skipped before the script's first line. */
const longestNoise = 1 << 18;
const maxLineBytes = 4096;

/** Reads the stdout of a session: the script's lines, the bytes between them, and other output, which is skipped. */
export class RemoteOutput {
  readonly #child: ChildProcess;
  readonly #mark: Buffer;
  readonly #chunks: AsyncIterator<Buffer>;
  readonly #closed: Promise<unknown>;
  #failure: unknown;
  #pending: Buffer = Buffer.alloc(0);

  /** @param mark the prefix of each line of the script */
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

  /** The next line of the script without its mark; undefined if the session ends first. */
  async line(): Promise<string | undefined> {
    for (;;) {
      const start = this.#pending.indexOf(this.#mark);
      const end = start < 0 ? -1 : this.#pending.indexOf('\n', start);
      if (end >= 0) {
        const text = this.#pending.toString('utf8', start + this.#mark.length, end);
        this.#pending = this.#pending.subarray(end + 1);
        return text;
      }
      if (this.#pending.length > (start < 0 ? longestNoise : start + maxLineBytes)) return undefined;
      if (!(await this.#more())) return undefined;
    }
  }

  /** Reads exactly this many bytes; undefined if the session ends first. */
  async bytes(count: number): Promise<Buffer | undefined> {
    while (this.#pending.length < count) {
      if (!(await this.#more())) return undefined;
    }
    const taken = this.#pending.subarray(0, count);
    this.#pending = this.#pending.subarray(count);
    return taken;
  }

  /**
   * Waits for the session to end, and kills it after the time limit.
   * @throws MintError `io-failed` if ssh did not start
   */
  async end(): Promise<void> {
    const limit = setTimeout(() => this.#child.kill('SIGKILL'), 5_000);
    // Discard the rest of the output, so that it does not block the session.
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
