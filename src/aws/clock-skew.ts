/** A request that AWS refuses because this machine's clock has moved since its last answer. */

/** AWS takes what is at most five minutes off; the SDK, too, allows one less, for the way. */
const tolerated = 4 * 60_000;

const dateForm = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/;

/**
 * Has the SDK's retry make a refused request again where its date was not AWS's. From every answer the SDK learns how
 * far the clock is off, and signs what follows by that; but it retries only where the clock is off *now*. Where a wrong
 * clock has been set right, what was learnt is what is wrong, and the SDK takes the refusal for final.
 *
 * @param error what the attempt failed with; marked as the SDK marks it where it sees a skew itself
 * @param request as it was signed
 */
export function retryWhereSkewed(error: unknown, request: unknown): void {
  const { $metadata, $response } = Object(error) as { $metadata?: unknown; $response?: unknown };
  if (typeof $metadata !== 'object' || $metadata === null) return;
  const signed = dateForm.exec(header(request, 'x-amz-date') ?? '');
  const answered = Date.parse(header($response, 'date') ?? '');
  if (signed === null || Number.isNaN(answered)) return;
  const [, year, month, day, hour, minute, second] = signed;
  const claimed = Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`);
  if (Math.abs(answered - claimed) < tolerated) return;
  Object.assign($metadata, { clockSkewCorrected: true });
}

/** A header of a request or an answer of the SDK's; its names are in any case. */
function header(message: unknown, name: string): string | undefined {
  const { headers } = Object(message) as { headers?: unknown };
  for (const [each, value] of Object.entries(Object(headers) as Record<string, unknown>))
    if (each.toLowerCase() === name && typeof value === 'string') return value;
  return undefined;
}
