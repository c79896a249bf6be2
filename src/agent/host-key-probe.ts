/**
 * One key exchange that asks a server for its ed25519 host key (RFC 4253 §§7–8, RFC 8731), and nothing after it.
 *
 * The first contact with a VM may be made by a client that prefers another type: libssh2, Go and Terraform ask for
 * ecdsa. Without the VM's ed25519 key a later `ssh` would find only a key of another type pinned. So the agent asks
 * for it at the moment of the first contact, at the same address.
 */
import { createHash, createPublicKey, diffieHellman, generateKeyPairSync, randomBytes } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import { type HostKey, parseHostKey, verifyHostSignature } from '../ssh/hostkey.ts';
import { Identification } from '../ssh/identification.ts';
import { negotiate, parseKexInit } from '../ssh/kexinit.ts';
import {
  SSH_MSG_DISCONNECT,
  SSH_MSG_KEX_INIT,
  SSH_MSG_KEX_REPLY,
  SSH_MSG_KEXINIT,
} from '../ssh/message-numbers.ts';
import { type Packet, PacketReader } from '../ssh/packet.ts';
import { unpredicted } from '../ssh/refusal.ts';
import { encodeByte, encodeString, encodeUint32, WireReader } from '../ssh/wire.ts';

const limitMs = 10_000;
/** More than a server sends before its reply. */
const maxServerBytes = 128 * 1024;
const version = 'SSH-2.0-mint-ssh';
const wantedType = 'ssh-ed25519';
const keyExchanges = 'curve25519-sha256,curve25519-sha256@libssh.org';
const ciphers = 'aes128-ctr,aes256-ctr,chacha20-poly1305@openssh.com,aes256-gcm@openssh.com';
const macs = 'hmac-sha2-256,hmac-sha2-512,hmac-sha2-256-etm@openssh.com,hmac-sha2-512-etm@openssh.com';

export interface Address {
  readonly host: string;
  readonly port: number;
}

/**
 * Asks the server at an address for its ed25519 host key, with which it has to sign the key exchange.
 * @returns undefined if the server has no such key, or offers no key exchange that is known here
 * @throws Error if the server cannot be reached, does not reply in time, or does not own the key
 */
export async function askForEd25519Key(address: Address): Promise<HostKey | undefined> {
  const socket = connect({ ...address, noDelay: true });
  const timer = setTimeout(() => socket.destroy(new Error('no answer in time')), limitMs).unref();
  try {
    return await exchange(socket);
  } finally {
    clearTimeout(timer);
    socket.destroy();
  }
}

async function exchange(socket: Socket): Promise<HostKey | undefined> {
  const hello = kexInit();
  socket.write(Buffer.concat([Buffer.from(`${version}\r\n`), packet(hello)]));
  const server = readServer(socket);
  const serverVersion = (await server.next()).value as Buffer;
  const first = (await server.next()).value as Packet;
  if (first.type !== SSH_MSG_KEXINIT) throw unpredicted('the server does not begin with its KEXINIT');
  const theirs = Buffer.concat([encodeByte(first.type), first.body]);
  const agreed = negotiate(parseKexInit(hello.subarray(1)), parseKexInit(first.body));
  if (agreed.keyExchange === undefined || agreed.hostKeyAlgorithm !== wantedType) return undefined;

  const { privateKey, publicKey } = generateKeyPairSync('x25519');
  const ours = Buffer.from(publicKey.export({ format: 'jwk' }).x ?? '', 'base64url');
  socket.write(packet(Buffer.concat([encodeByte(SSH_MSG_KEX_INIT), encodeString(ours)])));
  const reply = (await server.next()).value as Packet;
  if (reply.type !== SSH_MSG_KEX_REPLY) throw unpredicted('the server does not answer the key exchange');
  const reader = new WireReader(reply.body);
  const [blob, point, signature] = [reader.string(), reader.string(), reader.string()];
  reader.end();
  const key = parseHostKey(blob);
  if (key.type !== wantedType) throw unpredicted('the server shows a host key of another type than agreed');
  const x = point.toString('base64url');
  const theirPoint = createPublicKey({ key: { kty: 'OKP', crv: 'X25519', x }, format: 'jwk' });
  const secret = diffieHellman({ privateKey, publicKey: theirPoint });
  const fields = [version, serverVersion, hello, theirs, blob, ours, point].map(encodeString);
  const hash = createHash('sha256')
    .update(Buffer.concat([...fields, encodeString(positive(secret))]))
    .digest();
  if (!verifyHostSignature(key, hash, signature)) throw unpredicted('the server does not own its host key');
  // SSH_DISCONNECT_BY_APPLICATION: without it the server logs an error.
  socket.write(
    packet(
      Buffer.concat([
        encodeByte(SSH_MSG_DISCONNECT),
        encodeUint32(11),
        encodeString('bye'),
        encodeString(''),
      ]),
    ),
  );
  return key;
}

/** The server's version line without its end, then its packets. */
async function* readServer(socket: Socket): AsyncGenerator<Buffer | Packet, never> {
  const greeting = new Identification('server');
  const packets = new PacketReader();
  let isGreeted = false;
  let received = 0;
  for await (const chunk of socket as AsyncIterable<Buffer>) {
    received += chunk.length;
    if (received > maxServerBytes) throw unpredicted('the server sends too much before encryption');
    let rest = chunk;
    if (!isGreeted) {
      const greeted = greeting.push(rest);
      if (greeted === undefined) continue;
      isGreeted = true;
      rest = greeted.rest;
      yield Buffer.from((greeted.lines.at(-1) ?? Buffer.alloc(0)).toString('latin1').trimEnd(), 'latin1');
    }
    while (rest.length > 0) {
      const read = packets.next(rest);
      rest = read.rest;
      if (read.packet !== undefined) yield read.packet;
    }
  }
  throw new Error('the server closed the connection');
}

function kexInit(): Buffer {
  const lists = [keyExchanges, wantedType, ciphers, ciphers, macs, macs, 'none', 'none', '', ''];
  return Buffer.concat([
    encodeByte(SSH_MSG_KEXINIT),
    randomBytes(16),
    ...lists.map((list) => encodeString(list)),
    encodeByte(0),
    encodeUint32(0),
  ]);
}

/** RFC 4253 §6: length, padding length, payload, padding; a multiple of 8 bytes, at least 4 of padding. */
function packet(payload: Buffer): Buffer {
  const padding = 8 - ((5 + payload.length) % 8) + (8 - ((5 + payload.length) % 8) < 4 ? 8 : 0);
  return Buffer.concat([
    encodeUint32(1 + payload.length + padding),
    encodeByte(padding),
    payload,
    randomBytes(padding),
  ]);
}

/** The bytes of an mpint (RFC 4251 §5): no leading zeros but one before a set sign bit. */
function positive(magnitude: Buffer): Buffer {
  const start = magnitude.findIndex((byte) => byte !== 0);
  const digits = start < 0 ? Buffer.alloc(0) : magnitude.subarray(start);
  return (digits[0] ?? 0) & 0x80 ? Buffer.concat([Buffer.of(0), digits]) : digits;
}
