import { createHash } from 'node:crypto';

/** Variables that identify the caller to AWS or set AWS's endpoints, and are not secret. */
const counts = /^(?:AWS_\w+|HOME|USERPROFILE)$/;
const isSecret = /SECRET|TOKEN(?!_FILE)|PASSWORD/;

/**
 * Tells apart for whom, and where, a name was looked up: two callers, two profiles or two regions never share an
 * answer. Secrets do not go into it, hashed or not.
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
