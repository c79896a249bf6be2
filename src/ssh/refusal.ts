/** The two ways in which bytes are refused: they never were SSH, or they are not what SSH says comes next. */
import { MintError } from '../errors.ts';

/** For bytes that break the protocol, or that the two KEXINITs do not predict. Exit status 3. */
export function unpredicted(message: string, hint?: string): MintError {
  return new MintError('not-ssh', message, { unsafe: true, hint });
}

/** For a peer that speaks something else. Exit status 1. */
export function neverSsh(message: string, hint?: string): MintError {
  return new MintError('not-ssh', message, { unsafe: false, hint });
}
