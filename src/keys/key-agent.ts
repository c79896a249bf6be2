/** An SSH agent for the duration of one command. It holds one key at a time, in memory, for the ssh that the command runs. */
import { once } from 'node:events';
import net from 'node:net';
import { MintError } from '../errors.ts';
import { privateSocket } from '../platform/sockets.ts';
import {
  AgentFrames,
  failureReply,
  identitiesAnswer,
  parseAgentRequest,
  signResponse,
} from '../ssh/agent-messages.ts';
import { type SigningKey, signatureFor } from '../ssh/key-signature.ts';
import { parseUserauthRequest } from '../ssh/userauth.ts';

export interface KeyAgent {
  readonly socket: string;
  /** Serves this key from now on, and no other; nothing counts as signed yet. */
  hold(key: SigningKey | undefined): void;
  /** Whether a client has listed the key. */
  readonly wasAsked: boolean;
  /** Whether the key has signed a login. */
  readonly hasSigned: boolean;
  close(): void;
}

/**
 * Starts the agent.
 *
 * @param directory a directory that other users cannot enter
 * @throws MintError `agent-unavailable`
 */
export async function startKeyAgent(directory: string): Promise<KeyAgent> {
  const socket = privateSocket(directory);
  const clients = new Set<net.Socket>();
  let key: SigningKey | undefined;
  let [wasAsked, hasSigned] = [false, false];

  /** Signs logins (SSH_MSG_USERAUTH_REQUEST) and nothing else. */
  const answer = (message: Buffer): Buffer => {
    const request = parseAgentRequest(message);
    if (request.type === 'request-identities') {
      wasAsked = true;
      return identitiesAnswer(key === undefined ? [] : [{ keyBlob: key.blob, comment: 'mint-ssh' }]);
    }
    if (request.type !== 'sign-request' || key === undefined || !request.keyBlob.equals(key.blob)) {
      return failureReply();
    }
    const login = parseUserauthRequest(request.data);
    if (login === undefined || !login.publicKey.equals(key.blob)) return failureReply();
    const signature = signatureFor(key, login.algorithm, request.data, request.flags);
    if (signature === undefined) return failureReply();
    hasSigned = true;
    return signResponse(signature);
  };

  const server = net.createServer((client) => {
    clients.add(client);
    const frames = new AgentFrames();
    client.once('close', () => clients.delete(client));
    client.on('error', () => client.destroy());
    client.on('data', (chunk) => {
      try {
        for (const message of frames.push(chunk)) client.write(answer(message));
      } catch {
        // A malformed message ends this connection only.
        client.destroy();
      }
    });
  });
  server.listen(socket);
  try {
    await once(server, 'listening');
  } catch (cause) {
    throw new MintError('agent-unavailable', `cannot listen in ${JSON.stringify(directory)}`, { cause });
  }
  return {
    socket,
    hold(next) {
      key = next;
      [wasAsked, hasSigned] = [false, false];
    },
    get wasAsked() {
      return wasAsked;
    },
    get hasSigned() {
      return hasSigned;
    },
    close() {
      key = undefined;
      server.close();
      for (const client of clients) client.destroy();
    },
  };
}
