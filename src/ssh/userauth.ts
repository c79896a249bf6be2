/** The data that a client has an agent sign for a login: RFC 4252 §7 and OpenSSH's PROTOCOL §3.1. */
import { WireReader } from './wire.ts';

export interface UserauthRequest {
  /** The exchange hash of the connection's first key exchange. */
  readonly sessionId: Buffer;
  readonly user: string;
  readonly service: 'ssh-connection';
  readonly method: 'publickey' | 'publickey-hostbound-v00@openssh.com';
  readonly algorithm: string;
  readonly publicKey: Buffer;
  /** The server's host key; only the hostbound method has it. */
  readonly hostKey?: Buffer;
}

const SSH_MSG_USERAUTH_REQUEST = 50;

/** The lengths of SHA-1, SHA-256, SHA-384 and SHA-512: a session id is a hash of the key exchange method. */
const sessionIdLengths: ReadonlySet<number> = new Set([20, 32, 48, 64]);

/**
 * @param data the bytes of a sign request
 * @returns the request; undefined if the bytes are not exactly one login request
 */
export function parseUserauthRequest(data: Buffer): UserauthRequest | undefined {
  try {
    return readRequest(new WireReader(data));
  } catch {
    return undefined;
  }
}

function readRequest(reader: WireReader): UserauthRequest | undefined {
  const sessionId = reader.string();
  if (!sessionIdLengths.has(sessionId.length)) return undefined;
  if (reader.byte() !== SSH_MSG_USERAUTH_REQUEST) return undefined;
  const user = reader.text();
  const service = reader.text();
  const method = reader.text();
  if (service !== 'ssh-connection') return undefined;
  if (method !== 'publickey' && method !== 'publickey-hostbound-v00@openssh.com') return undefined;
  const hasSignature = reader.boolean();
  const algorithm = reader.text();
  const publicKey = reader.string();
  if (!hasSignature) return undefined;
  const request = { sessionId, user, service, method, algorithm, publicKey } as const;
  if (method === 'publickey') {
    reader.end();
    return request;
  }
  const hostKey = reader.string();
  reader.end();
  return { ...request, hostKey };
}
