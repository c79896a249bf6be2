import { createHash } from 'node:crypto';

/** Variables without secrets that identify the caller to AWS, or set AWS's endpoints. */
const counts = /^(?:AWS_\w+|HOME|USERPROFILE)$/;
const isSecret = /SECRET|TOKEN(?!_FILE)|PASSWORD/;

/**
 * Different callers, profiles and regions have different keys in the cache. The key contains no secrets, hashed or not.
 *
 * @param environment the caller's AWS settings
 * @returns the key of the cache's scope
 */
export function scopeKey(
  environment: Readonly<Record<string, string>>,
  target: { readonly profile?: string | undefined; readonly region?: string | undefined },
): string {
  const telling = Object.entries(environment)
    .filter(([name]) => counts.test(name) && !isSecret.test(name))
    .sort(([one], [other]) => (one < other ? -1 : 1));
  const text = JSON.stringify([target.profile ?? null, target.region ?? null, telling]);
  return createHash('sha256').update(text).digest('base64url').slice(0, 22);
}
