/** The data types of RFC 4251 §5, which SSH packets and agent messages consist of. */
import { unpredicted } from './refusal.ts';

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * Reads one message from its start to its end. The byte strings that it returns are views of the message, not copies.
 * Every method throws a MintError `not-ssh` if the message is shorter than it claims, or the bytes do not have the
 * method's type.
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

  /** RFC 4251 allows only 0 and 1, and implementations differ in how they read other values. */
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

  /** @returns the magnitude of a positive number, big-endian, without the zero byte of the sign */
  mpint(): Buffer {
    const bytes = this.string();
    const [first = 0, second = 0] = bytes;
    if (first & 0x80) throw unpredicted('a number is negative');
    if (first !== 0) return bytes;
    if (bytes.length === 0 || !(second & 0x80)) throw unpredicted('a number is zero or has leading zeros');
    return bytes.subarray(1);
  }

  /** @returns the names: printable US-ASCII without commas, none of them empty (RFC 4251 §6) */
  nameList(): string[] {
    const bytes = this.string();
    if (bytes.some((byte) => byte < 0x21 || byte > 0x7e))
      throw unpredicted('a name list has characters that are not printable');
    if (bytes.length === 0) return [];
    const names = bytes.toString('latin1').split(',');
    if (names.includes('')) throw unpredicted('a name list has an empty name');
    return names;
  }

  rest(): Buffer {
    return this.#take(this.remaining);
  }

  /** @throws MintError `not-ssh` if bytes are left */
  end(): void {
    if (this.remaining > 0) throw unpredicted('a message has trailing bytes');
  }

  #take(length: number): Buffer {
    if (length > this.remaining) throw unpredicted('a message is truncated');
    const taken = this.#bytes.subarray(this.#offset, this.#offset + length);
    this.#offset += length;
    return taken;
  }
}

/** @param value 0 to 255 */
export function encodeByte(value: number): Buffer {
  return Buffer.from([value]);
}

/** Big-endian: RFC 4251, section 5. */
export function encodeUint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

/** @returns a uint32 length and the bytes; text is encoded as UTF-8 */
export function encodeString(value: Uint8Array | string): Buffer {
  const bytes = typeof value === 'string' ? Buffer.from(value) : value;
  return Buffer.concat([encodeUint32(bytes.length), bytes]);
}
