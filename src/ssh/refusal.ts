/** The two errors for refused bytes: the peer does not speak SSH, or it breaks the protocol. */
import { MintError } from '../errors.ts';

/** @returns the error for bytes that break the protocol, or that the two KEXINITs do not predict; exit status 3 */
export function unpredicted(message: string, hint?: string): MintError {
  return new MintError('not-ssh', message, { unsafe: true, hint });
}

/** @returns the error for a peer that does not speak SSH; exit status 1 */
export function neverSsh(message: string, hint?: string): MintError {
  return new MintError('not-ssh', message, { unsafe: false, hint });
}
