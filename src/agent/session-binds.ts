/**
 * What a client of a VM's socket has said of the sessions it asks for (OpenSSH's PROTOCOL.agent §1). Stream
 * binding does not need it; where it comes, it has to agree.
 */
import { parseHostKey, verifyHostSignature } from '../ssh/hostkey.ts';
import { parseSessionBind } from '../ssh/session-bind.ts';
import type { UserauthRequest } from '../ssh/userauth.ts';

interface Bound {
  readonly hostKey: Buffer;
  readonly sessionId: Buffer;
}

export class SessionBinds {
  #bound: Bound | undefined;
  #refused = false;

  /** Takes the contents of the extension; false where they are not accepted, and then nothing is signed. */
  accept(contents: Buffer): boolean {
    try {
      const { hostKey, sessionId, signature, isForwarding } = parseSessionBind(contents);
      // Whoever binds for forwarding lends the socket to another machine. The VM's key is not lent.
      if (isForwarding) throw new Error('not for us');
      if (this.#bound !== undefined && !isSame(this.#bound, { hostKey, sessionId }))
        throw new Error('bound before');
      if (!verifyHostSignature(parseHostKey(hostKey), sessionId, signature)) throw new Error('not the host');
      this.#bound = { hostKey, sessionId };
      return true;
    } catch {
      this.#refused = true;
      return false;
    }
  }

  /** The client has named its session, and truthfully. */
  get isBound(): boolean {
    return this.#bound !== undefined && !this.#refused;
  }

  /** Whether the client may know and use the key: one that is bound to another host has no business with it. */
  allowHost(hostKeys: Iterable<Buffer>): boolean {
    if (this.#refused) return false;
    const { hostKey } = this.#bound ?? {};
    return hostKey === undefined || [...hostKeys].some((known) => known.equals(hostKey));
  }

  /** Whether a login is for the session that was bound, where one was. */
  allow(request: UserauthRequest): boolean {
    if (this.#refused) return false;
    if (this.#bound === undefined) return true;
    const { hostKey, sessionId } = this.#bound;
    return (
      sessionId.equals(request.sessionId) &&
      (request.hostKey === undefined || hostKey.equals(request.hostKey))
    );
  }
}

function isSame(one: Bound, other: Bound): boolean {
  return one.hostKey.equals(other.hostKey) && one.sessionId.equals(other.sessionId);
}
