/**
 * A malicious SSH server: it completes a curve25519 key exchange with its own host key, and sends any packets in between.
 * Clients that ignore unexpected packets accept it.
 */
import {
  createHash,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  type KeyObject,
  sign,
} from 'node:crypto';
import { createServer, type Socket } from 'node:net';
import { encodeByte, encodeString } from '../../src/ssh/wire.ts';
import { kexInit, mpint, newKeys, packet } from '../ssh/packets.ts';

/** What is said where, beside what a key exchange needs. */
export interface Insertions {
  readonly afterBanner?: readonly Buffer[];
  readonly afterKexInit?: readonly Buffer[];
  readonly beforeReply?: readonly Buffer[];
  readonly afterReply?: readonly Buffer[];
}

export interface Impostor {
  readonly port: number;
  /** The numbers of the packets that the client sent, in order; 21 is the one it must never have sent. */
  readonly heard: readonly number[];
  /** Bytes that came behind the client's NEWKEYS. */
  readonly behindNewKeys: number;
  close(): void;
}

const banner = 'SSH-2.0-impostor';

/** Listens on loopback; `hostKey` is the one it signs with. */
export async function startImpostor(
  hostKey: { readonly blob: Buffer; readonly privateKey: KeyObject },
  insertions: Insertions,
): Promise<Impostor> {
  const heard: number[] = [];
  const sockets = new Set<Socket>();
  let behind = 0;
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    const ownInit = kexInit();
    const say = (...packets: readonly Buffer[]) => socket.write(Buffer.concat(packets));
    socket.write(`${banner}\r\n`);
    say(...(insertions.afterBanner ?? []), ownInit, ...(insertions.afterKexInit ?? []));
    let bytes = Buffer.alloc(0);
    let clientBanner: string | undefined;
    let clientInit: Buffer | undefined;
    socket.on('data', (chunk: Buffer) => {
      bytes = Buffer.concat([bytes, chunk]);
      if (clientBanner === undefined) {
        const end = bytes.indexOf('\r\n');
        if (end < 0) return;
        clientBanner = bytes.subarray(0, end).toString();
        bytes = bytes.subarray(end + 2);
      }
      while (bytes.length >= 5 && !heard.includes(21) && bytes.length >= 4 + bytes.readUInt32BE(0)) {
        const size = 4 + bytes.readUInt32BE(0);
        const payload = payloadOf(bytes.subarray(0, size));
        bytes = bytes.subarray(size);
        heard.push(payload.readUInt8(0));
        if (payload[0] === 20) clientInit = Buffer.from(payload);
        if (payload[0] === 30 && clientInit !== undefined) {
          const transcript = { clientBanner, clientInit, serverInit: payloadOf(ownInit) };
          const reply = makeReply(hostKey, transcript, payload.subarray(5));
          say(...(insertions.beforeReply ?? []), reply, ...(insertions.afterReply ?? []), newKeys);
        }
      }
      if (heard.includes(21)) {
        behind += bytes.length;
        bytes = Buffer.alloc(0);
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  return {
    port: typeof address === 'object' && address !== null ? address.port : 0,
    heard,
    get behindNewKeys() {
      return behind;
    },
    close() {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}

interface Transcript {
  readonly clientBanner: string;
  readonly clientInit: Buffer;
  readonly serverInit: Buffer;
}

/** RFC 8731 §3: the reply, with the signature over the exchange hash. */
function makeReply(
  hostKey: { readonly blob: Buffer; readonly privateKey: KeyObject },
  { clientBanner, clientInit, serverInit }: Transcript,
  clientPublic: Buffer,
): Buffer {
  const own = generateKeyPairSync('x25519');
  const ownPublic = Buffer.from(own.publicKey.export({ format: 'jwk' }).x ?? '', 'base64url');
  const x = clientPublic.toString('base64url');
  const publicKey = createPublicKey({ key: { kty: 'OKP', crv: 'X25519', x }, format: 'jwk' });
  const secret = diffieHellman({ privateKey: own.privateKey, publicKey });
  const hash = createHash('sha256');
  const strings = [Buffer.from(clientBanner), Buffer.from(banner), clientInit, serverInit];
  for (const each of [...strings, hostKey.blob, clientPublic, ownPublic]) hash.update(encodeString(each));
  hash.update(mpint(trimmed(secret)));
  const signature = Buffer.concat([
    encodeString('ssh-ed25519'),
    encodeString(sign(null, hash.digest(), hostKey.privateKey)),
  ]);
  return packet(encodeByte(31), encodeString(hostKey.blob), encodeString(ownPublic), encodeString(signature));
}

function payloadOf(bytes: Buffer): Buffer {
  return bytes.subarray(5, bytes.length - bytes.readUInt8(4));
}

function trimmed(magnitude: Buffer): Buffer {
  const first = magnitude.findIndex((byte) => byte !== 0);
  return magnitude.subarray(first);
}
