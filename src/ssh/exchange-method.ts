/** The key exchange methods we can follow: who sends what, in which order. */
import { bitLength } from './hostkey.ts';
import {
  SSH_MSG_KEX_DH_GEX_GROUP,
  SSH_MSG_KEX_DH_GEX_INIT,
  SSH_MSG_KEX_DH_GEX_REPLY,
  SSH_MSG_KEX_DH_GEX_REQUEST,
  SSH_MSG_KEX_DH_GEX_REQUEST_OLD,
  SSH_MSG_KEX_INIT,
  SSH_MSG_KEX_REPLY,
} from './message-numbers.ts';
import { unpredicted } from './refusal.ts';
import { WireReader } from './wire.ts';

/** One message of a key exchange, by its number. */
export type Step =
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
export function stepsOf(keyExchange: string): readonly Step[] {
  const steps = methods.get(keyExchange);
  if (steps !== undefined) return steps;
  throw unpredicted(
    `the two sides agreed on the key exchange ${keyExchange.slice(0, 64)}, in which the host key cannot be seen`,
    'choose another one: ssh -o KexAlgorithms=curve25519-sha256',
  );
}

export interface Reply {
  readonly hostKey: Buffer;
  readonly signature: Buffer;
}

/**
 * Reads a key exchange reply: host key, the server's public value, signature. Every method has this form.
 *
 * @param body the packet's payload after the message number
 * @throws MintError `not-ssh` if it is malformed
 */
export function parseReply(body: Buffer): Reply {
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
export function checkGroup(body: Buffer): void {
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
