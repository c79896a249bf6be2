/**
 * Announces credentials that this process has resolved by a process or a request, so that its user is not asked for the
 * same MFA code or touch again. A module of its own: who listens must not load the AWS client.
 */
import type { Credentials } from './requests.ts';

export interface Resolved {
  readonly credentials: Credentials;
  /** The profile of `--profile` or ssh.toml that they were resolved for. */
  readonly explicit: string | undefined;
  /** From `filesStamp`: the AWS files that they were resolved from. */
  readonly stamp: string;
}

/** Resolves once the credentials have been passed on; never rejects. */
export type ResolvedListener = (resolved: Resolved) => Promise<void>;

let listener: ResolvedListener = async () => {};

/** Sets who is told of resolved credentials. One listener: a later call replaces it. */
export function onResolved(given: ResolvedListener): void {
  listener = given;
}

/** Tells the listener, and waits for it. */
export function announceResolved(resolved: Resolved): Promise<void> {
  return listener(resolved);
}
