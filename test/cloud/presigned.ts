/**
 * Checks a URL that was signed in its query, step by step as AWS describes it, and without the package that signs it.
 * https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
 */
import { createHash, createHmac, timingSafeEqual } from 'node:crypto';
import type { AccessKey } from '../../src/demo/cloud-service.ts';

interface PresignedRequest {
  readonly method: string;
  /** As it came, with its query. */
  readonly url: URL;
  /** The header. */
  readonly host: string;
}

const credentialForm = /^([\w-]{1,128})\/(\d{8})\/([a-z0-9-]{1,32})\/([a-z0-9-]{1,64})\/aws4_request$/;
const dateForm = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/;

/**
 * @param keys access key id → its secret
 * @param longest how many seconds the signature may be good for
 * @returns why AWS would not take it; undefined where it would
 */
export function presignedFault(
  request: PresignedRequest,
  keys: ReadonlyMap<string, AccessKey>,
  { service, longest }: { readonly service: string; readonly longest: number },
): string | undefined {
  const fields = Object.fromEntries(request.url.searchParams);
  const credential = fields['X-Amz-Credential'] ?? '';
  const [, id = '', day = '', region = '', scope] = credentialForm.exec(credential) ?? [];
  const date = dateForm.exec(fields['X-Amz-Date'] ?? '');
  if (fields['X-Amz-Algorithm'] !== 'AWS4-HMAC-SHA256' || date === null)
    return 'Missing Authentication Token';
  const key = keys.get(id);
  if (key === undefined || fields['X-Amz-Security-Token'] !== key.sessionToken)
    return 'The security token included in the request is invalid.';
  const [stamp, year, month, dayOfMonth, hour, minute, second] = date;
  if (scope !== service || day !== stamp.slice(0, 8))
    return `Credential should be scoped to correct service: '${service}'.`;
  if (fields['X-Amz-SignedHeaders'] !== 'host') return 'The host header has to be signed, and no other.';
  const expires = Number(fields['X-Amz-Expires']);
  if (!(expires >= 1 && expires <= longest)) return `X-Amz-Expires must be from 1 to ${longest}.`;
  const age = (Date.now() - Date.parse(`${year}-${month}-${dayOfMonth}T${hour}:${minute}:${second}Z`)) / 1000;
  if (age > expires || age < -300) return 'Signature expired.';

  const { 'X-Amz-Signature': signature = '', ...query } = fields;
  const canonical = [
    request.method,
    request.url.pathname,
    canonicalQuery(query),
    `host:${request.host}`,
    '',
    'host',
    sha256(''),
  ].join('\n');
  const toSign = ['AWS4-HMAC-SHA256', stamp, credential.slice(id.length + 1), sha256(canonical)].join('\n');
  const secret = [day, region, service, 'aws4_request'].reduce<Buffer>(
    hmac,
    Buffer.from(`AWS4${key.secret}`),
  );
  const expected = hmac(secret, toSign).toString('hex');
  const isRight =
    signature.length === expected.length && timingSafeEqual(Buffer.from(signature), Buffer.from(expected));
  return isRight
    ? undefined
    : 'The request signature we calculated does not match the signature you provided.';
}

function canonicalQuery(fields: Readonly<Record<string, string>>): string {
  return Object.entries(fields)
    .map(([name, value]) => `${encoded(name)}=${encoded(value)}`)
    .sort()
    .join('&');
}

function encoded(text: string): string {
  return [...Buffer.from(text)]
    .map((byte) => {
      const character = String.fromCharCode(byte);
      return /[A-Za-z0-9_.~-]/.test(character)
        ? character
        : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
    })
    .join('');
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

function hmac(key: Buffer, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest();
}
