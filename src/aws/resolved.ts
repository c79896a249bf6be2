/**
 * Announces credentials that this process has resolved by a process or a request, so that its user is not asked for the
 * same MFA code or touch again. A module of its own: who listens must not load the AWS client.
 */
import type { Credentials } from './requests.ts';

/**
 * @param explicit the profile of `--profile` or ssh.toml that they were resolved for
 * @returns once the credentials have been passed on; never rejects
 */
export type ResolvedListener = (credentials: Credentials, explicit: string | undefined) => Promise<void>;

let listener: ResolvedListener = async () => {};

/** Sets who is told of resolved credentials. One listener: a later call replaces it. */
export function onResolved(given: ResolvedListener): void {
  listener = given;
}

/** @param explicit the profile of `--profile` or ssh.toml that they were resolved for */
export function announceResolved(credentials: Credentials, explicit: string | undefined): Promise<void> {
  return listener(credentials, explicit);
}
