/** Observes a key exchange in both directions, and points out the packets that trust depends on. */
import { Expectation, type Meaning, type Side } from './expectation.ts';
import { Identification } from './identification.ts';
import { PacketReader } from './packet.ts';

interface Pass {
  readonly type: 'pass';
  readonly bytes: Buffer;
}

interface ReplyPacket {
  /** Exactly the packet that carries the host key. */
  readonly type: 'reply';
  readonly bytes: Buffer;
  /** A copy of K_S. Its type matches the negotiated algorithm. */
  readonly hostKey: Buffer;
  /** A copy of the host's signature over the exchange hash. It cannot be verified here: only the peers know the hash. */
  readonly signature: Buffer;
  readonly keyExchange: string;
  readonly hostKeyAlgorithm: string;
}

interface NewKeys {
  /** Exactly the client's NEWKEYS packet. */
  readonly type: 'newkeys';
  readonly bytes: Buffer;
}

export type ServerEvent = Pass | ReplyPacket;
export type ClientEvent = Pass | NewKeys;

/**
 * Takes the bytes of a connection as they arrive from either side, and returns them in order, split at the packets that
 * the caller has to act on. It neither drops nor adds bytes. It returns only complete lines and packets. After a side's
 * NEWKEYS it returns that side's chunks unchanged.
 *
 * The returned bytes may be views of the chunk, so a caller that reuses its read buffer and keeps them must copy them.
 * The observer keeps no reference to a chunk, and sets no time limits.
 *
 * `server` and `client` throw a MintError: `not-ssh` with `unsafe` for a packet that the two KEXINITs do not predict,
 * `not-ssh` without it for a peer that does not speak SSH, and `host-key-type` if the agreed host key algorithm cannot
 * be verified. After that no more bytes may pass in either direction.
 */
export class KeyExchangeObserver {
  readonly #expectation = new Expectation();
  readonly #server = new Direction('server');
  readonly #client = new Direction('client');

  get serverBannerSeen(): boolean {
    return this.#server.identified;
  }

  /** The last line before the server's `SSH-` line, such as the reason why it closes. Untrusted text. */
  get serverNotice(): string | undefined {
    return this.#server.identified ? undefined : this.#server.lastLine;
  }

  /** Whether the server's NEWKEYS has passed. */
  get serverOpaque(): boolean {
    return this.#server.opaque;
  }

  /** Whether the client's NEWKEYS has passed. */
  get clientOpaque(): boolean {
    return this.#client.opaque;
  }

  server(chunk: Buffer): ServerEvent[] {
    return this.#server.read(chunk, this.#expectation).map(({ bytes, meaning }): ServerEvent => {
      if (meaning.type !== 'reply') return { type: 'pass', bytes };
      const { reply, keyExchange, hostKeyAlgorithm } = meaning;
      const hostKey = Buffer.from(reply.hostKey);
      const signature = Buffer.from(reply.signature);
      return { type: 'reply', bytes, hostKey, signature, keyExchange, hostKeyAlgorithm };
    });
  }

  client(chunk: Buffer): ClientEvent[] {
    return this.#client.read(chunk, this.#expectation).map(({ bytes, meaning }): ClientEvent => {
      return { type: meaning.type === 'newkeys' ? 'newkeys' : 'pass', bytes };
    });
  }
}

interface Piece {
  readonly bytes: Buffer;
  readonly meaning: Meaning;
}

/** One side's stream: lines, then unencrypted packets, then encrypted bytes. */
class Direction {
  readonly #side: Side;
  readonly #identification: Identification;
  readonly #packets = new PacketReader();
  #state: 'lines' | 'packets' | 'opaque' = 'lines';

  constructor(side: Side) {
    this.#side = side;
    this.#identification = new Identification(side);
  }

  get identified(): boolean {
    return this.#state !== 'lines';
  }

  get opaque(): boolean {
    return this.#state === 'opaque';
  }

  get lastLine(): string | undefined {
    return this.#identification.lastLine;
  }

  read(chunk: Buffer, expectation: Expectation): Piece[] {
    const pieces: Piece[] = [];
    let rest = chunk;
    if (this.#state === 'lines') {
      const greeting = this.#identification.push(chunk);
      if (greeting === undefined) return pieces;
      this.#state = 'packets';
      for (const bytes of greeting.lines) pieces.push({ bytes, meaning: { type: 'plain' } });
      rest = greeting.rest;
    }
    while (this.#state === 'packets' && rest.length > 0) {
      const next = this.#packets.next(rest);
      rest = next.rest;
      if (next.packet === undefined) break;
      const meaning = expectation.judge(this.#side, next.packet);
      if (meaning.type === 'newkeys') this.#state = 'opaque';
      pieces.push({ bytes: next.packet.bytes, meaning });
    }
    if (rest.length > 0) pieces.push({ bytes: rest, meaning: { type: 'plain' } });
    return pieces;
  }
}
