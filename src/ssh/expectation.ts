/** Predicts from both KEXINITs what each side may send next, until its NEWKEYS: RFC 4253 §7 to §9. */
import { keyTypeOf } from './host-key-algorithm.ts';
import { bitLength, parseHostKey } from './hostkey.ts';
import { type KexInit, negotiate, parseKexInit } from './kexinit.ts';
import {
  SSH_MSG_DEBUG,
  SSH_MSG_DISCONNECT,
  SSH_MSG_IGNORE,
  SSH_MSG_KEX_DH_GEX_GROUP,
  SSH_MSG_KEX_DH_GEX_INIT,
  SSH_MSG_KEX_DH_GEX_REPLY,
  SSH_MSG_KEX_DH_GEX_REQUEST,
  SSH_MSG_KEX_DH_GEX_REQUEST_OLD,
  SSH_MSG_KEX_INIT,
  SSH_MSG_KEX_REPLY,
  SSH_MSG_KEXINIT,
  SSH_MSG_NEWKEYS,
  SSH_MSG_UNIMPLEMENTED,
} from './message-numbers.ts';
import type { Packet } from './packet.ts';
import { unpredicted } from './refusal.ts';
import { WireReader } from './wire.ts';

export type Side = 'client' | 'server';

export type Meaning =
  | { readonly type: 'plain' | 'newkeys' }
  | {
      readonly type: 'reply';
      readonly reply: Reply;
      readonly keyExchange: string;
      readonly hostKeyAlgorithm: string;
    };

interface Agreement {
  /** Empty if the two sides have no method in common. */
  readonly steps: readonly Step[];
  readonly keyExchange: string;
  readonly hostKeyAlgorithm: string;
  readonly strict: boolean;
}

interface Progress {
  kexInit: KexInit | undefined;
  /** The message number of a guessed packet that was sent before the other side's KEXINIT. */
  guess: number | undefined;
  /** How many packets the other side still has to skip: one after a wrong guess. */
  skips: number;
  /** Whether this side sent a message that strict key exchange does not allow. */
  strayed: boolean;
  ended: boolean;
}

const plain: Meaning = { type: 'plain' };
const replyNumbers: ReadonlySet<number> = new Set([SSH_MSG_KEX_REPLY, SSH_MSG_KEX_DH_GEX_REPLY]);
/** RFC 4253 §11 allows these at any time; strict key exchange forbids them. */
const strayNumbers: ReadonlySet<number> = new Set([SSH_MSG_IGNORE, SSH_MSG_UNIMPLEMENTED, SSH_MSG_DEBUG]);

/**
 * Checks the packets of both sides in the order in which they pass. An unpredicted packet throws: a client might ignore
 * it, and would then use another host key than the one seen here.
 */
export class Expectation {
  readonly #sides: Readonly<Record<Side, Progress>> = { client: newProgress(), server: newProgress() };
  #agreement: Agreement | undefined;
  /** How many steps of the agreed method have passed. */
  #passed = 0;

  /**
   * @returns what the packet means at this point
   * @throws MintError `not-ssh` for a packet that is not allowed here, `host-key-type` for a host key that cannot be verified
   */
  judge(side: Side, packet: Packet): Meaning {
    const progress = this.#sides[side];
    if (progress.ended) throw unpredicted(`the ${side} sent more after its disconnect message`);
    if (packet.type === SSH_MSG_DISCONNECT) {
      progress.ended = true;
      return plain;
    }
    if (strayNumbers.has(packet.type)) return this.#stray(side);
    if (packet.type === SSH_MSG_KEXINIT) return this.#kexInit(side, packet.body);
    if (progress.kexInit === undefined) throw this.#surprise(side, packet.type, 'before its KEXINIT');
    if (this.#agreement === undefined) return this.#guess(side, packet.type);
    if (progress.skips > 0) return this.#skip(side, packet.type);
    if (packet.type === SSH_MSG_NEWKEYS) return this.#newKeys(side);
    return this.#step(side, packet, this.#agreement);
  }

  #stray(side: Side): Meaning {
    this.#sides[side].strayed = true;
    this.#checkStrictness();
    return plain;
  }

  #kexInit(side: Side, body: Buffer): Meaning {
    const progress = this.#sides[side];
    if (progress.kexInit !== undefined) throw unpredicted(`the ${side} sent a second KEXINIT`);
    progress.kexInit = parseKexInit(body);
    this.#agree();
    return plain;
  }

  /** Computes the next steps once both KEXINITs have arrived. */
  #agree(): void {
    const { client, server } = this.#sides;
    if (client.kexInit === undefined || server.kexInit === undefined) return;
    const { keyExchange, hostKeyAlgorithm, guessedRight, strict } = negotiate(client.kexInit, server.kexInit);
    if (keyExchange === undefined || hostKeyAlgorithm === undefined) {
      this.#agreement = { steps: [], keyExchange: '', hostKeyAlgorithm: '', strict };
    } else {
      const steps = stepsOf(keyExchange);
      keyTypeOf(hostKeyAlgorithm);
      this.#agreement = { steps, keyExchange, hostKeyAlgorithm, strict };
    }
    this.#checkStrictness();
    for (const side of ['client', 'server'] as const) this.#settleGuess(side, guessedRight);
  }

  /** A guessed packet was the first step, or was skipped, or has not arrived yet. */
  #settleGuess(side: Side, guessedRight: boolean): void {
    const { kexInit, guess } = this.#sides[side];
    if (!kexInit?.firstPacketFollows) return;
    if (!guessedRight) this.#sides[side].skips = guess === undefined ? 1 : 0;
    else if (guess !== undefined) this.#advance(side, guess);
  }

  #guess(side: Side, number: number): Meaning {
    const progress = this.#sides[side];
    if (!progress.kexInit?.firstPacketFollows || progress.guess !== undefined)
      throw this.#surprise(side, number, 'before both KEXINITs');
    this.#refuseReplyAsGuess(side, number);
    progress.guess = number;
    return plain;
  }

  #skip(side: Side, number: number): Meaning {
    this.#refuseReplyAsGuess(side, number);
    this.#sides[side].skips -= 1;
    return plain;
  }

  /** Clients differ in what they skip, so a packet that a client could read as a reply must not be skipped. */
  #refuseReplyAsGuess(side: Side, number: number): void {
    if (number === SSH_MSG_NEWKEYS || (side === 'server' && replyNumbers.has(number)))
      throw this.#surprise(side, number, 'as a guess');
  }

  /** Neither side may send NEWKEYS before the reply has passed. The caller does not ask about later packets. */
  #newKeys(side: Side): Meaning {
    const steps = this.#agreement?.steps ?? [];
    if (steps.length === 0 || this.#passed < steps.length)
      throw unpredicted(`the ${side} sent NEWKEYS before the key exchange reply`);
    return { type: 'newkeys' };
  }

  #step(side: Side, packet: Packet, { keyExchange, hostKeyAlgorithm }: Agreement): Meaning {
    const step = this.#advance(side, packet.type);
    if (step.side === 'client') return plain;
    if (step.carries === 'group') {
      checkGroup(packet.body);
      return plain;
    }
    const reply = parseReply(packet.body);
    const { type } = parseHostKey(reply.hostKey);
    if (type !== keyTypeOf(hostKeyAlgorithm))
      throw unpredicted(`the server showed a key of type ${type.slice(0, 64)} for ${hostKeyAlgorithm}`);
    return { type: 'reply', reply, keyExchange, hostKeyAlgorithm };
  }

  #advance(side: Side, number: number): Step {
    const step = this.#agreement?.steps[this.#passed];
    if (step?.side !== side || !step.numbers.includes(number))
      throw this.#surprise(side, number, 'at a point where the key exchange has no such message');
    this.#passed += 1;
    return step;
  }

  #checkStrictness(): void {
    if (!this.#agreement?.strict) return;
    for (const side of ['client', 'server'] as const)
      if (this.#sides[side].strayed) throw unpredicted(`the ${side} broke the strict key exchange`);
  }

  #surprise(side: Side, number: number, where: string): Error {
    return unpredicted(`the ${side} sent message ${number} ${where}`);
  }
}

function newProgress(): Progress {
  return { kexInit: undefined, guess: undefined, skips: 0, strayed: false, ended: false };
}

/** One message of a key exchange, by its number. */
type Step =
  | { readonly side: 'client'; readonly numbers: readonly number[] }
  | { readonly side: 'server'; readonly numbers: readonly number[]; readonly carries: 'group' | 'reply' };

/** RFC 4253 §8, RFC 5656 §4, and the hybrids, which kept the latter's numbers. */
const direct: readonly Step[] = [
  { side: 'client', numbers: [SSH_MSG_KEX_INIT] },
  { side: 'server', numbers: [SSH_MSG_KEX_REPLY], carries: 'reply' },
];

/** RFC 4419 §3: the server names a group first, under the number that is a reply everywhere else. */
const groupExchange: readonly Step[] = [
  { side: 'client', numbers: [SSH_MSG_KEX_DH_GEX_REQUEST, SSH_MSG_KEX_DH_GEX_REQUEST_OLD] },
  { side: 'server', numbers: [SSH_MSG_KEX_DH_GEX_GROUP], carries: 'group' },
  { side: 'client', numbers: [SSH_MSG_KEX_DH_GEX_INIT] },
  { side: 'server', numbers: [SSH_MSG_KEX_DH_GEX_REPLY], carries: 'reply' },
];

const methods: ReadonlyMap<string, readonly Step[]> = new Map([
  ['curve25519-sha256', direct],
  ['curve25519-sha256@libssh.org', direct],
  ['curve448-sha512', direct],
  ['ecdh-sha2-nistp256', direct],
  ['ecdh-sha2-nistp384', direct],
  ['ecdh-sha2-nistp521', direct],
  ['sntrup761x25519-sha512', direct],
  ['sntrup761x25519-sha512@openssh.com', direct],
  ['mlkem768x25519-sha256', direct],
  ['mlkem768nistp256-sha256', direct],
  ['mlkem1024nistp384-sha384', direct],
  ['diffie-hellman-group1-sha1', direct],
  ['diffie-hellman-group14-sha1', direct],
  ['diffie-hellman-group14-sha256', direct],
  ['diffie-hellman-group15-sha512', direct],
  ['diffie-hellman-group16-sha512', direct],
  ['diffie-hellman-group17-sha512', direct],
  ['diffie-hellman-group18-sha512', direct],
  ['diffie-hellman-group-exchange-sha1', groupExchange],
  ['diffie-hellman-group-exchange-sha256', groupExchange],
]);

const groupBits = { least: 1024, most: 8192 };

/**
 * Methods that are not listed (GSSAPI, RSA, future ones) may carry the host key in another message, so they are refused.
 *
 * @param keyExchange the negotiated method, such as `curve25519-sha256`
 * @returns the messages of the method, in order
 * @throws MintError `not-ssh` for a method that is not listed
 */
function stepsOf(keyExchange: string): readonly Step[] {
  const steps = methods.get(keyExchange);
  if (steps !== undefined) return steps;
  throw unpredicted(
    `the two sides agreed on the key exchange ${keyExchange.slice(0, 64)}, in which the host key cannot be seen`,
    'choose another one: ssh -o KexAlgorithms=curve25519-sha256',
  );
}

interface Reply {
  readonly hostKey: Buffer;
  readonly signature: Buffer;
}

/**
 * Reads a key exchange reply: host key, the server's public value, signature. Every method has this form.
 *
 * @param body the packet's payload after the message number
 * @throws MintError `not-ssh` if it is malformed
 */
function parseReply(body: Buffer): Reply {
  const reader = new WireReader(body);
  const hostKey = reader.string();
  reader.string();
  const signature = reader.string();
  reader.end();
  return { hostKey, signature };
}

/**
 * Checks that a message is a group of RFC 4419, and cannot be read as a key exchange reply.
 *
 * @param body the packet's payload after the message number
 * @throws MintError `not-ssh` if it is anything else
 */
function checkGroup(body: Buffer): void {
  const reader = new WireReader(body);
  const prime = reader.mpint();
  const generator = reader.mpint();
  reader.end();
  const bits = bitLength(prime);
  const isPlausible =
    bits >= groupBits.least &&
    bits <= groupBits.most &&
    (prime.readUInt8(prime.length - 1) & 1) === 1 &&
    generator.length <= prime.length;
  if (!isPlausible) throw unpredicted('the server sent a malformed Diffie-Hellman group');
}
