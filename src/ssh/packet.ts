/** Packets before encryption: RFC 4253 §6. */
import { SSH_MSG_DISCONNECT } from './message-numbers.ts';
import { unpredicted } from './refusal.ts';
import { encodeByte, encodeString, encodeUint32 } from './wire.ts';

/** Every implementation must accept this much (RFC 4253 §6.1), and no key exchange needs more. */
const lengthLimit = 35_000;
const leastPadding = 4;
/** The size of an unencrypted packet is a multiple of this. OpenSSH refuses other sizes too. */
const blockSize = 8;

export interface Packet {
  /** The packet as it arrived, with its length and padding: a view of the chunk if one chunk had all of it. */
  readonly bytes: Buffer;
  /** The message number, the first byte of the payload. */
  readonly type: number;
  /** The payload after the message number. */
  readonly body: Buffer;
}

/**
 * Reads one packet after another from a stream of chunks. It keeps a copy of an incomplete packet, at most 35,004 bytes,
 * and does not copy complete ones.
 */
export class PacketReader {
  readonly #header = Buffer.alloc(4);
  #partial: Buffer | undefined;
  #filled = 0;

  /**
   * @returns the packet that ends in this chunk, and the bytes after it; without a packet, the whole chunk was consumed
   * @throws MintError `not-ssh` for a length or padding that an unencrypted packet cannot have
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

/** The total size of the packet that starts with these four bytes. */
function sizeOf(header: Buffer): number {
  const length = header.readUInt32BE(0);
  const size = 4 + length;
  if (length > lengthLimit) throw unpredicted(`a packet of ${length} bytes came before encryption`);
  if (length < 1 + leastPadding || size % blockSize !== 0)
    throw unpredicted(`a packet has an invalid length: ${length}`);
  return size;
}

function open(bytes: Buffer): Packet {
  const padding = bytes.readUInt8(4);
  const end = bytes.length - padding;
  if (padding < leastPadding || end < 6)
    throw unpredicted(`a packet has an invalid padding length: ${padding}`);
  return { bytes, type: bytes.readUInt8(5), body: bytes.subarray(6, end) };
}

/** RFC 4253 §11.1: SSH_DISCONNECT_HOST_KEY_NOT_VERIFIABLE. */
const hostKeyNotVerifiable = 9;

/** @returns an unencrypted SSH_MSG_DISCONNECT that ends a key exchange (RFC 4253 §11.1) */
export function disconnectPacket(description: string): Buffer {
  const payload = Buffer.concat([
    encodeByte(SSH_MSG_DISCONNECT),
    encodeUint32(hostKeyNotVerifiable),
    encodeString(Buffer.from(description)),
    encodeString(Buffer.alloc(0)),
  ]);
  const padding =
    leastPadding + ((blockSize - ((5 + payload.length + leastPadding) % blockSize)) % blockSize);
  const length = encodeUint32(1 + payload.length + padding);
  return Buffer.concat([length, encodeByte(padding), payload, Buffer.alloc(padding)]);
}
