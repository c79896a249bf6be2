/**
 * Which connection a session runs through. A session id is the exchange hash of the connection's first key exchange
 * (RFC 4253 §7.2), over which the host there has made the signature that the proxy saw.
 */
import { type SignedExchange, verifyHostSignature } from '../ssh/hostkey.ts';

/** A session, as a login request or a client of a socket names it. */
export interface NamedSession {
  readonly sessionId: Buffer;
  /** The blob of the host key, if it is named too. */
  readonly hostKey?: Buffer;
}

interface Connected {
  readonly host: { readonly exchange: SignedExchange | undefined };
}

/**
 * The session id of each exchange for which one was verified. An exchange has no other, and a verification takes 0.1 ms:
 * without this, each of 200 logins at once would be compared with all the others.
 */
const sessionIds = new WeakMap<SignedExchange, Buffer>();

/**
 * @param connections the live connections of a VM
 * @returns the one whose host has signed this session id, with that host key if one is named; undefined if there is none
 */
export function findSession<C extends Connected>(
  { sessionId, hostKey }: NamedSession,
  connections: Iterable<C>,
): C | undefined {
  const unknown: C[] = [];
  for (const connection of connections) {
    const { exchange } = connection.host;
    if (exchange === undefined || hostKey?.equals(exchange.hostKey.blob) === false) continue;
    const known = sessionIds.get(exchange);
    if (known === undefined) unknown.push(connection);
    else if (known.equals(sessionId)) return connection;
  }
  return unknown.find(({ host: { exchange } }) => {
    if (exchange === undefined || !verifyHostSignature(exchange.hostKey, sessionId, exchange.signature))
      return false;
    sessionIds.set(exchange, Buffer.from(sessionId));
    return true;
  });
}
