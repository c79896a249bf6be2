/** The lines that open a connection, before the first packet: RFC 4253 §4.2. */
import { neverSsh } from './refusal.ts';

/** RFC 4253 §4.2, with its CR LF. */
const versionLineLimit = 255;
/** OpenSSH's client accepts this many lines before the `SSH-` line; the limit of their total size is ours. */
const linesLimit = 1024;
const lineLimit = 8192;
const totalLimit = 64 * 1024;

const lineFeed = 0x0a;

/** The lines with which a peer opened the connection. */
export interface Greeting {
  /** Complete lines with their line ends; the last one is the `SSH-` line. */
  readonly lines: readonly Buffer[];
  /** The bytes after it: a view of the chunk that completed it. */
  readonly rest: Buffer;
}

/**
 * Collects the lines of one side up to its `SSH-` line. They are held until then. If a server only explains why it
 * closes the connection ("Exceeded MaxStartups"), the client has seen nothing and the proxy can dial again.
 */
export class Identification {
  readonly #mayPrecede: boolean;
  #held = Buffer.alloc(0);
  #length = 0;
  #lineStart = 0;
  readonly #lines: Buffer[] = [];

  /** Only a server may send other lines before its `SSH-` line. */
  constructor(side: 'server' | 'client') {
    this.#mayPrecede = side === 'server';
  }

  /** The last complete line so far, without its line end. It is untrusted text of up to 8 KiB. */
  get lastLine(): string | undefined {
    return this.#lines.at(-1)?.toString().trimEnd();
  }

  /**
   * @param chunk the next bytes of this side
   * @returns the lines once the `SSH-` line is complete, else undefined
   * @throws MintError `not-ssh` for lines that are too long, too many, or that SSH does not allow here
   */
  push(chunk: Buffer): Greeting | undefined {
    let rest = chunk;
    while (rest.length > 0) {
      const at = rest.indexOf(lineFeed);
      const piece = at < 0 ? rest : rest.subarray(0, at + 1);
      rest = rest.subarray(piece.length);
      this.#hold(piece);
      if (at < 0) return undefined;
      const line = this.#held.subarray(this.#lineStart, this.#length);
      this.#lineStart = this.#length;
      this.#lines.push(line);
      if (this.#judge(line)) return { lines: this.#lines, rest };
    }
    return undefined;
  }

  #hold(piece: Buffer): void {
    const lineLength = this.#length + piece.length - this.#lineStart;
    if (lineLength > lineLimit) throw neverSsh(`the other side sent a line of more than ${lineLimit} bytes`);
    const needed = this.#length + piece.length;
    if (needed > totalLimit) throw neverSsh(`no SSH version line came in ${totalLimit / 1024} KiB`);
    if (needed > this.#held.length) {
      // The earlier lines are views of the old buffer, which nothing writes to again.
      const larger = Buffer.alloc(Math.min(totalLimit, Math.max(needed, this.#held.length * 2, 256)));
      this.#held.copy(larger, 0, 0, this.#length);
      this.#held = larger;
    }
    piece.copy(this.#held, this.#length);
    this.#length = needed;
  }

  /** Whether a line is the `SSH-` line. */
  #judge(line: Buffer): boolean {
    const text = line.toString('latin1');
    // Clients differ in where such a line ends. OpenSSH refuses both too.
    if (/\0|\r(?!\n)/.test(text)) throw neverSsh('a line before the key exchange has a NUL or a lone CR');
    if (text.startsWith('SSH-')) {
      if (!/^SSH-(2\.0|1\.99)-/.test(text)) throw neverSsh('the other side does not support SSH version 2');
      if (line.length > versionLineLimit)
        throw neverSsh(`the SSH version line has more than ${versionLineLimit} bytes`);
      return true;
    }
    if (!this.#mayPrecede) throw neverSsh('the client did not begin with an SSH version line');
    if (/^HTTP\/\d/.test(text)) throw neverSsh('an HTTP server answered', 'check the host and the port');
    if (this.#lines.length >= linesLimit) throw neverSsh(`no SSH version line came in ${linesLimit} lines`);
    return false;
  }
}
