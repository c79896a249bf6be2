/** OpenSSH's PROTOCOL.agent §1: the client tells its agent which host it is connected to. */
import { WireReader } from './wire.ts';

export const sessionBindName = 'session-bind@openssh.com';

export interface SessionBind {
  readonly hostKey: Buffer;
  readonly sessionId: Buffer;
  /** The host's signature over the session id, byte for byte the signature of the key exchange reply. */
  readonly signature: Buffer;
  /** Whether the connection forwards the agent, rather than logging in. */
  readonly isForwarding: boolean;
}

/**
 * @param contents the extension's payload after its name
 * @throws MintError `not-ssh` if it is malformed
 */
export function parseSessionBind(contents: Buffer): SessionBind {
  const reader = new WireReader(contents);
  const hostKey = reader.string();
  const sessionId = reader.string();
  const signature = reader.string();
  const isForwarding = reader.boolean();
  reader.end();
  return { hostKey, sessionId, signature, isForwarding };
}
