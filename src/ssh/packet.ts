/** Packets before encryption: RFC 4253 §6. */
import { unpredicted } from './refusal.ts';

/** RFC 4253 §6.1: what every implementation must take, and more than any key exchange needs. */
const lengthLimit = 35_000;
const leastPadding = 4;
/** Whole packets are a multiple of this while nothing is encrypted; OpenSSH refuses others too. */
const blockSize = 8;

export interface Packet {
  /** The packet with its length and padding, as it came: a view of the chunk where that had all of it. */
  readonly bytes: Buffer;
  /** The message number, the first byte of the payload. */
  readonly type: number;
  /** The payload behind the message number. */
  readonly body: Buffer;
}

/**
 * Takes one packet after another from a stream of chunks. Of an incomplete packet a copy is kept, never
 * more than 35,004 bytes; whole ones are not copied.
 */
export class PacketReader {
  readonly #header = Buffer.alloc(4);
  #partial: Buffer | undefined;
  #filled = 0;

  /**
   * Takes a packet off the front of `chunk`, and gives back what is behind it. Without a packet, all of
   * the chunk has been taken in.
   *
   * @throws MintError `not-ssh` for a length that no packet in clear can have
   */
  next(chunk: Buffer): { readonly packet: Packet | undefined; readonly rest: Buffer } {
    if (this.#filled === 0 && chunk.length >= 4) {
      const size = sizeOf(chunk);
      if (chunk.length >= size) return { packet: open(chunk.subarray(0, size)), rest: chunk.subarray(size) };
    }
    let rest = chunk;
    if (this.#partial === undefined) {
      rest = this.#fill(this.#header, rest);
      if (this.#filled < 4) return { packet: undefined, rest };
      this.#partial = Buffer.alloc(sizeOf(this.#header));
      this.#header.copy(this.#partial);
    }
    rest = this.#fill(this.#partial, rest);
    if (this.#filled < this.#partial.length) return { packet: undefined, rest };
    const packet = open(this.#partial);
    this.#partial = undefined;
    this.#filled = 0;
    return { packet, rest };
  }

  #fill(target: Buffer, bytes: Buffer): Buffer {
    const taken = bytes.copy(target, this.#filled);
    this.#filled += taken;
    return bytes.subarray(taken);
  }
}

/** The size of the whole packet that begins with these four bytes. */
function sizeOf(header: Buffer): number {
  const length = header.readUInt32BE(0);
  const size = 4 + length;
  if (length > lengthLimit) throw unpredicted(`a packet of ${length} bytes came before encryption`);
  if (length < 1 + leastPadding || size % blockSize !== 0)
    throw unpredicted(`a packet has the impossible length ${length}`);
  return size;
}

function open(bytes: Buffer): Packet {
  const padding = bytes.readUInt8(4);
  const end = bytes.length - padding;
  if (padding < leastPadding || end < 6) throw unpredicted(`a packet has the impossible padding ${padding}`);
  return { bytes, type: bytes.readUInt8(5), body: bytes.subarray(6, end) };
}
