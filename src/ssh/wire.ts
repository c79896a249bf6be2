/** The data types of RFC 4251 §5, and of an agent's messages, which are built from them. */
import { unpredicted } from './refusal.ts';

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * Reads one message from its start to its end. Byte strings it gives back are views of the message, not
 * copies. Every method throws a MintError `not-ssh` when the message is shorter than it says, or is not
 * what the method's type allows.
 */
export class WireReader {
  readonly #bytes: Buffer;
  #offset = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get remaining(): number {
    return this.#bytes.length - this.#offset;
  }

  byte(): number {
    return this.#take(1).readUInt8(0);
  }

  /** RFC 4251 lets no one store anything but 0 and 1, and readers differ about the rest. */
  boolean(): boolean {
    const value = this.byte();
    if (value > 1) throw unpredicted('a boolean is neither 0 nor 1');
    return value === 1;
  }

  uint32(): number {
    return this.#take(4).readUInt32BE(0);
  }

  string(): Buffer {
    return this.#take(this.uint32());
  }

  /** A string that must be UTF-8. */
  text(): string {
    try {
      return utf8.decode(this.string());
    } catch (error) {
      if (error instanceof TypeError) throw unpredicted('a text is not UTF-8');
      throw error;
    }
  }

  /** The magnitude of a positive number, big-endian, without the sign's zero byte. */
  mpint(): Buffer {
    const bytes = this.string();
    const [first = 0, second = 0] = bytes;
    if (first & 0x80) throw unpredicted('a number is negative');
    if (first !== 0) return bytes;
    if (bytes.length === 0 || !(second & 0x80)) throw unpredicted('a number is zero or has needless zeros');
    return bytes.subarray(1);
  }

  /** Names are printable US-ASCII without a comma and not empty (RFC 4251 §6); an empty list has none. */
  nameList(): string[] {
    const bytes = this.string();
    if (bytes.some((byte) => byte < 0x21 || byte > 0x7e)) throw unpredicted('a name-list is not printable');
    if (bytes.length === 0) return [];
    const names = bytes.toString('latin1').split(',');
    if (names.includes('')) throw unpredicted('a name-list has an empty name');
    return names;
  }

  rest(): Buffer {
    return this.#take(this.remaining);
  }

  /** @throws MintError `not-ssh` when anything is left */
  end(): void {
    if (this.remaining > 0) throw unpredicted('a message has bytes behind its end');
  }

  #take(length: number): Buffer {
    if (length > this.remaining) throw unpredicted('a message ends before its fields do');
    const taken = this.#bytes.subarray(this.#offset, this.#offset + length);
    this.#offset += length;
    return taken;
  }
}

export function encodeByte(value: number): Buffer {
  return Buffer.from([value]);
}

export function encodeUint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

/** A length and its bytes; text is written as UTF-8. */
export function encodeString(value: Uint8Array | string): Buffer {
  const bytes = typeof value === 'string' ? Buffer.from(value) : value;
  return Buffer.concat([encodeUint32(bytes.length), bytes]);
}
