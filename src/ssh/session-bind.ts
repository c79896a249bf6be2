/** OpenSSH's PROTOCOL.agent §1: the client tells its agent which host a connection is to. */
import { WireReader } from './wire.ts';

export const sessionBindName = 'session-bind@openssh.com';

export interface SessionBind {
  readonly hostKey: Buffer;
  readonly sessionId: Buffer;
  /** The host's signature over the session id, byte for byte that of the key exchange reply. */
  readonly signature: Buffer;
  /** Whether the connection is for forwarding the agent, not for logging in. */
  readonly isForwarding: boolean;
}

/** Reads the contents of the extension. @throws MintError `not-ssh` when they are malformed */
export function parseSessionBind(contents: Buffer): SessionBind {
  const reader = new WireReader(contents);
  const hostKey = reader.string();
  const sessionId = reader.string();
  const signature = reader.string();
  const isForwarding = reader.boolean();
  reader.end();
  return { hostKey, sessionId, signature, isForwarding };
}
