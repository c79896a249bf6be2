/** Clients of an agent's sockets for the tests: as a proxy, as an SSH client, and with invalid messages. */
import { generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { encodeLine, lineSplitter } from '../../src/agent/control/messages.ts';
import { type AgentReply, protocolVersion } from '../../src/agent/control/protocol.ts';
import { AgentFrames } from '../../src/ssh/agent-messages.ts';
import { publicKeyBlob } from '../../src/ssh/key-encoding.ts';
import { encodeByte, encodeString, encodeUint32, WireReader } from '../../src/ssh/wire.ts';
import { loginUser, type World, waitFor } from '../openssh/world.ts';

export const failure = 5;
export const success = 6;
export const identities = 12;
export const signed = 14;
export const extensionFailure = 28;

/** A client of a VM's socket: messages out, replies in, in order. */
export interface KeyClient {
  readonly socket: Socket;
  /** Sends one message and returns its reply, both without their length fields. */
  ask(...fields: Buffer[]): Promise<Buffer>;
  /** The blobs of the listed keys. */
  list(): Promise<Buffer[]>;
  /** The number of the reply to a sign request. */
  sign(keyBlob: Buffer, data: Buffer): Promise<number>;
  close(): void;
}

export async function keyClient(path: string): Promise<KeyClient> {
  const socket = await connected(path);
  const frames = new AgentFrames();
  const replies: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => replies.push(...frames.push(chunk)));
  const ask = async (...fields: Buffer[]): Promise<Buffer> => {
    socket.write(encodeString(Buffer.concat(fields)));
    return await waitFor('the reply of the agent', 15_000, () => {
      if (replies.length === 0 && socket.closed) throw new Error('the agent closed the connection');
      return replies.shift();
    });
  };
  return {
    socket,
    ask,
    async list() {
      const reader = new WireReader(await ask(encodeByte(11)));
      if (reader.byte() !== identities) throw new Error('no list');
      const blobs: Buffer[] = [];
      for (let left = reader.uint32(); left > 0; left -= 1) {
        blobs.push(reader.string());
        reader.string();
      }
      reader.end();
      return blobs;
    },
    async sign(keyBlob, data) {
      const reply = await ask(encodeByte(13), encodeString(keyBlob), encodeString(data), encodeUint32(0));
      return reply[0] ?? -1;
    },
    close: () => socket.destroy(),
  };
}

/** A client of the control socket. */
export interface ControlClient {
  readonly socket: Socket;
  readonly replies: AgentReply[];
  send(message: object): void;
  /** Waits for the next reply of this type; throws if the agent sends another one. */
  reply<T extends AgentReply['type']>(type: T): Promise<Extract<AgentReply, { type: T }>>;
  close(): Promise<void>;
}

export async function controlClient(path: string): Promise<ControlClient> {
  const socket = await connected(path);
  const replies: AgentReply[] = [];
  const split = lineSplitter((message) => replies.push(message as AgentReply));
  socket.on('data', split);
  return {
    socket,
    replies,
    send: (message) => socket.write(encodeLine(message as never)),
    async reply(type) {
      const found = await waitFor(`the reply ${type}`, 15_000, () => {
        const at = replies.findIndex((reply) => reply.type === type || reply.type === 'error');
        if (at < 0 && socket.closed) throw new Error('the agent closed the connection');
        return at < 0 ? undefined : replies.splice(at, 1)[0];
      });
      if (found.type !== type) throw new Error(JSON.stringify(found));
      return found as never;
    },
    async close() {
      if (socket.closed) return;
      socket.end();
      await once(socket, 'close');
    },
  };
}

/** A host without a server: it makes the signature of a key exchange. */
export class Host {
  readonly #privateKey: KeyObject;
  readonly blob: Buffer;

  constructor() {
    const { privateKey, publicKey } = generateKeyPairSync('ed25519');
    this.#privateKey = privateKey;
    this.blob = publicKeyBlob(publicKey);
  }

  sign(data: Buffer): Buffer {
    return Buffer.concat([encodeString('ssh-ed25519'), encodeString(sign(null, data, this.#privateKey))]);
  }
}

export const newSession = (): Buffer => randomBytes(32);

export const openRequest = (world: World, vm: string, more: object = {}): object => ({
  type: 'open',
  version: protocolVersion,
  vm,
  user: loginUser,
  environment: Object.fromEntries(
    Object.entries(world.environment).filter(([name]) => name.startsWith('AWS_')),
  ),
  established: false,
  ...more,
});

export const seenRequest = (hostKey: Buffer, signature: Buffer): object => ({
  type: 'check-host-key',
  hostKey: hostKey.toString('base64'),
  signature: signature.toString('base64'),
  // Where the connection runs to, as ssh.toml has it.
  host: '127.0.0.1',
});

/** Sends all messages of a proxy up to the point at which the client may log in. */
export async function proxyConnection(
  world: World,
  vm: string,
  host: Host,
  session: Buffer,
  more: object = {},
): Promise<ControlClient> {
  const control = await controlClient(controlPath(world));
  control.send(openRequest(world, vm, more));
  await control.reply('target');
  control.send(seenRequest(host.blob, host.sign(session)));
  await control.reply('host-key-checked');
  control.send({ type: 'await-push' });
  await control.reply('pushed');
  return control;
}

export interface LoginFields {
  readonly session: Buffer;
  readonly key: Buffer;
  readonly user?: string;
  /** Makes it hostbound. */
  readonly hostKey?: Buffer;
}

/** The data that a client has its agent sign: RFC 4252 §7. */
export function loginData({ session, key, user = loginUser, hostKey }: LoginFields): Buffer {
  return Buffer.concat([
    encodeString(session),
    encodeByte(50),
    encodeString(user),
    encodeString('ssh-connection'),
    encodeString(hostKey === undefined ? 'publickey' : 'publickey-hostbound-v00@openssh.com'),
    encodeByte(1),
    encodeString('ssh-ed25519'),
    encodeString(key),
    ...(hostKey === undefined ? [] : [encodeString(hostKey)]),
  ]);
}

/** Contents of `session-bind@openssh.com`, as an agent message. */
export function bindMessage(hostKey: Buffer, session: Buffer, signature: Buffer, forwarding = false): Buffer {
  return Buffer.concat([
    encodeByte(27),
    encodeString('session-bind@openssh.com'),
    encodeString(hostKey),
    encodeString(session),
    encodeString(signature),
    encodeByte(forwarding ? 1 : 0),
  ]);
}

export const controlPath = (world: World): string => `${world.configDir}/run/control.sock`;
export const keyPath = (world: World, vm: string): string => `${world.configDir}/run/agent/${vm}.sock`;

export async function connected(path: string): Promise<Socket> {
  const socket = connect(path);
  await once(socket, 'connect');
  socket.on('error', () => {});
  return socket;
}
