/** Builds the messages that the tests send to the observer. */
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { publicKeyBlob } from '../../src/ssh/key-encoding.ts';
import { encodeByte, encodeString, encodeUint32 } from '../../src/ssh/wire.ts';

/** An unencrypted packet: RFC 4253 §6, with the smallest valid padding. */
export function packet(...fields: Buffer[]): Buffer {
  const payload = Buffer.concat(fields);
  const padding = 4 + ((8 - ((payload.length + 9) % 8)) % 8);
  return Buffer.concat([
    encodeUint32(1 + payload.length + padding),
    encodeByte(padding),
    payload,
    Buffer.alloc(padding),
  ]);
}

export interface KexInitFields {
  readonly keyExchanges?: string;
  readonly hostKeyAlgorithms?: string;
  readonly follows?: boolean;
}

/** A KEXINIT packet; the other lists are those that all peers have in common. */
export function kexInit(fields: KexInitFields = {}): Buffer {
  const { keyExchanges = 'curve25519-sha256', hostKeyAlgorithms = 'ssh-ed25519', follows = false } = fields;
  const ciphers = encodeString('aes256-gcm@openssh.com');
  const macs = encodeString('hmac-sha2-256');
  const compressions = encodeString('none');
  const languages = encodeString('');
  return packet(
    encodeByte(20),
    Buffer.alloc(16, 0xc0),
    encodeString(keyExchanges),
    encodeString(hostKeyAlgorithms),
    ...[ciphers, ciphers, macs, macs, compressions, compressions, languages, languages],
    encodeByte(follows ? 1 : 0),
    encodeUint32(0),
  );
}

/** A packet with a number and fields that the observer does not read. */
export function message(number: number, ...fields: Buffer[]): Buffer {
  return packet(encodeByte(number), ...fields);
}

export const disconnect = message(1, encodeUint32(11), encodeString('bye'), encodeString(''));
export const ignore = message(2, encodeString('noise'));
export const unimplemented = message(3, encodeUint32(1));
export const debug = message(4, encodeByte(0), encodeString('debug'), encodeString(''));
export const newKeys = message(21);
/** The client's first message in all methods but group exchange. */
export const init = message(30, encodeString(Buffer.alloc(32, 7)));
export const groupRequest = message(34, encodeUint32(2048), encodeUint32(3072), encodeUint32(8192));
export const oldGroupRequest = message(30, encodeUint32(3072));
export const groupInit = message(32, mpint(Buffer.alloc(384, 7)));

export function mpint(magnitude: Buffer): Buffer {
  const [first = 0] = magnitude;
  return encodeString(first & 0x80 ? Buffer.concat([Buffer.from([0]), magnitude]) : magnitude);
}

/** An odd number of this many bytes with its highest bit set, which is enough for a group's prime here. */
export const prime = (bytes: number): Buffer => Buffer.alloc(bytes, 0xff);

export function group(
  modulus: Buffer = mpint(prime(384)),
  generator: Buffer = mpint(Buffer.from([2])),
): Buffer {
  return message(31, modulus, generator);
}

/** A reply, under 31, or 33 in group exchange. The signature is invalid, because the observer cannot verify it. */
export function reply(hostKey: Buffer, number = 31): Buffer {
  return message(number, encodeString(hostKey), encodeString(Buffer.alloc(32, 9)), encodeString(signature));
}

export const signature = Buffer.concat([encodeString('ssh-ed25519'), encodeString(Buffer.alloc(64, 3))]);

export function newHostKey(): { blob: Buffer; privateKey: KeyObject } {
  const { privateKey } = generateKeyPairSync('ed25519');
  return { blob: publicKeyBlob(privateKey), privateKey };
}

export const serverBanner = Buffer.from('SSH-2.0-server\r\n');
export const clientBanner = Buffer.from('SSH-2.0-client\r\n');
