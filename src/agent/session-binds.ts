/**
 * What a client of a VM's socket has said of the sessions it asks for (OpenSSH's PROTOCOL.agent §1). Stream
 * binding does not need it; where it comes, it has to agree.
 */
import { parseHostKey, verifyHostSignature } from '../ssh/hostkey.ts';
import { parseSessionBind } from '../ssh/session-bind.ts';
import type { UserauthRequest } from '../ssh/userauth.ts';

export class SessionBinds {
  #bound: { readonly hostKey: Buffer; readonly sessionId: Buffer } | undefined;
  #refused = false;

  /** Takes the contents of the extension; false where they are not accepted, and then nothing is signed. */
  accept(contents: Buffer): boolean {
    try {
      const { hostKey, sessionId, signature, isForwarding } = parseSessionBind(contents);
      // Whoever binds for forwarding lends the socket to another machine. The VM's key is not lent.
      if (isForwarding || this.#bound !== undefined) throw new Error('not for us');
      if (!verifyHostSignature(parseHostKey(hostKey), sessionId, signature)) throw new Error('not the host');
      this.#bound = { hostKey, sessionId };
      return true;
    } catch {
      this.#refused = true;
      return false;
    }
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
