/** Checks AWS Signature Version 4: signs the request again with the known secret, and compares. */
import { createHash, timingSafeEqual } from 'node:crypto';
import { Sha256 } from '@aws-crypto/sha256-js';
import { SignatureV4 } from '@smithy/signature-v4';
import type { AccessKey, Caller, CloudRequest } from './cloud-service.ts';
import { type WireFailure, wireFailure } from './wire-failure.ts';

/** AWS refuses a request whose date differs by more than this from its own clock. */
const clockSkewMilliseconds = 5 * 60_000;

const authorizationForm =
  /^AWS4-HMAC-SHA256 Credential=([\w-]{1,128})\/(\d{8})\/([a-z0-9-]{1,32})\/([a-z0-9-]{1,64})\/aws4_request, ?SignedHeaders=([a-z0-9;-]{1,2000}), ?Signature=([0-9a-f]{64})$/;

/**
 * @param keys from access key ID to its secret
 * @param signingName the service that the credential scope must have
 * @returns the caller, or AWS's failure
 */
export async function verifySignature(
  request: CloudRequest,
  keys: ReadonlyMap<string, AccessKey>,
  signingName: string,
): Promise<Caller | WireFailure> {
  const authorization = request.headers.authorization;
  if (authorization === undefined) {
    return wireFailure('MissingAuthenticationTokenException', 'Missing Authentication Token');
  }
  const [, accessKeyId = '', scopeDate = '', region = '', service = '', headerList = '', signature = ''] =
    authorizationForm.exec(authorization) ?? [];
  const date = parseDate(request.headers['x-amz-date']);
  if (accessKeyId === '' || date === undefined) {
    return wireFailure('IncompleteSignatureException', 'Authorization header or X-Amz-Date is not complete.');
  }

  const key = keys.get(accessKeyId);
  if (key === undefined || request.headers['x-amz-security-token'] !== key.sessionToken) {
    return wireFailure(
      'UnrecognizedClientException',
      'The security token included in the request is invalid.',
    );
  }
  if (key.expiresAt !== undefined && Date.now() >= key.expiresAt) {
    return wireFailure('ExpiredTokenException', 'The security token included in the request is expired');
  }
  if (service !== signingName) {
    return invalid(`Credential should be scoped to correct service: '${signingName}'.`);
  }
  if (scopeDate !== date.text.slice(0, 8)) {
    return invalid(
      'Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP',
    );
  }
  const age = Date.now() - date.time;
  if (age > clockSkewMilliseconds) {
    return invalid(`Signature expired: ${date.text} is now earlier than the server's time - 5 min.`);
  }
  if (age < -clockSkewMilliseconds) {
    return invalid(`Signature not yet current: ${date.text} is still later than the server's time + 5 min.`);
  }

  const headerNames = headerList.split(';');
  const mustSign = Object.keys(request.headers).filter(
    (name) => name === 'host' || name.startsWith('x-amz-'),
  );
  const unsigned = mustSign.filter((name) => !headerNames.includes(name));
  if (unsigned.length > 0) return invalid(`these headers must be signed: ${unsigned.join(', ')}`);
  const claimedHash = request.headers['x-amz-content-sha256'];
  if (claimedHash !== undefined && claimedHash !== createHash('sha256').update(request.body).digest('hex')) {
    return invalid('The provided x-amz-content-sha256 header does not match what was computed.');
  }

  const expected = await sign(request, headerNames, {
    accessKeyId,
    secret: key.secret,
    region,
    service,
    date,
  });
  if (expected === undefined || !timingSafeEqual(Buffer.from(signature), Buffer.from(expected))) {
    return invalid(
      'The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method.',
    );
  }
  return { accessKeyId, region };
}

interface SigningFacts {
  readonly accessKeyId: string;
  readonly secret: string;
  readonly region: string;
  readonly service: string;
  readonly date: { readonly time: number };
}

/** The signature of a request with exactly the headers that its sender signed. */
async function sign(
  request: CloudRequest,
  headerNames: readonly string[],
  { accessKeyId, secret, region, service, date }: SigningFacts,
): Promise<string | undefined> {
  const headers: Record<string, string> = {};
  for (const name of headerNames) {
    const value = request.headers[name];
    if (typeof value !== 'string') return undefined;
    headers[name] = value;
  }
  const signer = new SignatureV4({
    credentials: { accessKeyId, secretAccessKey: secret },
    region,
    service,
    sha256: Sha256,
    applyChecksum: false,
  });
  const signed = await signer.sign(
    {
      method: request.method,
      protocol: 'http:',
      hostname: headers['host'] ?? '',
      path: request.path,
      query: request.query,
      headers,
      body: request.body,
    },
    { signingDate: new Date(date.time), signableHeaders: new Set(headerNames) },
  );
  return /Signature=([0-9a-f]{64})$/.exec(signed.headers['authorization'] ?? '')?.[1];
}

/** `20260102T030405Z`, the only form in signature version 4. */
function parseDate(header: string | string[] | undefined): { text: string; time: number } | undefined {
  const form = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(typeof header === 'string' ? header : '');
  if (form === null) return undefined;
  const [text, year, month, day, hour, minute, second] = form;
  const time = Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`);
  return Number.isNaN(time) ? undefined : { text, time };
}

function invalid(message: string): WireFailure {
  return wireFailure('InvalidSignatureException', message);
}
