/**
 * Stream binding: the agent signs only for a session that it can prove runs through one of its own proxies.
 *
 * The key exchange reply that a proxy saw holds the host key and the host's signature over the exchange
 * hash. The hash of the first key exchange is the session id (RFC 4253 §7.2), and a session id is what every
 * userauth request begins with (RFC 4252 §7). So of a request to be signed the agent can tell which proxy's
 * connection it belongs to, and that the host there owns its key, whatever client asks.
 */
import { type HostKey, verifyHostSignature } from '../ssh/hostkey.ts';
import type { UserauthRequest } from '../ssh/userauth.ts';

/** What one live connection has shown. */
export interface SeenExchange {
  readonly hostKey: HostKey;
  /** Of the host, over the exchange hash. */
  readonly signature: Buffer;
}

/** Finds, among a VM's live connections, the one whose session the request is for, with the key of the host there. */
export function boundConnection<C extends { readonly host: { readonly exchange: SeenExchange | undefined } }>(
  request: UserauthRequest,
  connections: Iterable<C>,
): { readonly connection: C; readonly hostKey: HostKey } | undefined {
  for (const connection of connections) {
    const { exchange } = connection.host;
    if (exchange === undefined) continue;
    const { hostKey, signature } = exchange;
    if (request.hostKey !== undefined && !request.hostKey.equals(hostKey.blob)) continue;
    if (verifyHostSignature(hostKey, request.sessionId, signature)) return { connection, hostKey };
  }
  return undefined;
}
