/** Text that others wrote, made fit for a message. */
import type { Attempt } from './attempt.ts';

/** At most this much of what others wrote is shown. */
const longest = 300;

/** Another party's text on one line, cut, without secrets and without a full stop at its end. */
export function quote(text: string, attempt: Attempt): string {
  let safe = text;
  for (const secret of attempt.secrets) {
    if (secret.length >= 8) safe = safe.replaceAll(secret, '[hidden]');
  }
  safe = safe
    .replace(/\/\/[^/@\s]*@/g, '//[hidden]@')
    // EC2's answer to who may not: a kilobyte that only an administrator can decode.
    .replace(/\s*Encoded authorization failure message: [\w-]+/g, '')
    .replace(/\s+/g, ' ')
    .trim()
    .replace(/\.$/, '');
  return safe.length > longest ? `${safe.slice(0, longest)}…` : safe;
}

/** What the service said, with the request id that its support asks for. */
export function said(error: Error, attempt: Attempt): string {
  const { requestId } = metadata(error);
  const text = quote(error.message || error.name, attempt);
  return requestId === undefined ? text : `${text} (request ${quote(requestId, attempt)})`;
}

/** What the SDK attaches to an error that came as an answer. */
export function metadata(error: Error): {
  requestId?: string | undefined;
  httpStatusCode?: number | undefined;
} {
  if (!('$metadata' in error) || typeof error.$metadata !== 'object' || error.$metadata === null) return {};
  return error.$metadata;
}
