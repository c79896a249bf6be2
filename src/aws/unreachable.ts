/** Failures below HTTP: names, sockets, TLS, proxies. */
import { shellWord } from '../cli/shell-command.ts';
import { MintError } from '../errors.ts';
import { type Attempt, endpointHost } from './attempt.ts';
import { quote } from './quote.ts';

const network =
  /\b(E(?:NOTFOUND|AI_AGAIN|CONNREFUSED|CONNRESET|CONNABORTED|PIPE|HOSTUNREACH|NETUNREACH|NETDOWN|TIMEDOUT|ADDRNOTAVAIL)|ERR_PROXY_TUNNEL)\b/;
const certificate =
  /\b(CERT_[A-Z_]+|(?:DEPTH_ZERO_)?SELF_SIGNED_CERT[A-Z_]*|UNABLE_TO_[A-Z_]+|ERR_TLS_[A-Z_]+|ERR_SSL_[A-Z_]+|EPROTO)\b/;

const described: Readonly<Record<string, string>> = {
  ENOTFOUND: 'the name does not resolve',
  EAI_AGAIN: 'names do not resolve at the moment',
  ECONNREFUSED: 'the connection was refused',
  ECONNRESET: 'the connection was reset',
  EHOSTUNREACH: 'there is no route to it',
  ENETUNREACH: 'there is no route to it',
  ETIMEDOUT: 'no answer in time',
  ERR_PROXY_TUNNEL: 'the proxy did not let the connection through',
};

/** The MintError for a failure of the network; undefined where `error` is no such failure. */
export function unreachable(error: unknown, attempt: Attempt): MintError | undefined {
  const found = networkCode(error);
  if (found === undefined) return undefined;
  const peer = peerIn(error);
  const where = endpointHost(attempt) ?? peer ?? 'AWS';
  // A resolved address, or the proxy's.
  const through = peer === undefined || peer === where ? '' : ` (${quote(peer, attempt)})`;
  const what = described[found] ?? found;
  return new MintError('aws-unreachable', `${quote(where, attempt)} cannot be reached: ${what}${through}`, {
    hint: hintFor(found, attempt),
    cause: error,
  });
}

/** The MintError for an endpoint that took longer than `milliseconds`. */
export function tooLate(attempt: Attempt, milliseconds: number): MintError {
  const seconds = Math.max(1, Math.ceil(milliseconds / 1000));
  const where = quote(endpointHost(attempt) ?? 'AWS', attempt);
  return new MintError('aws-unreachable', `${where} gave no answer within ${seconds} s`, {
    hint: hintFor('ETIMEDOUT', attempt),
  });
}

function hintFor(code: string, attempt: Attempt): string {
  if (certificate.test(code)) {
    return "something between you and AWS has its own certificate: let AWS_CA_BUNDLE name your company's CA file";
  }
  if (code === 'ERR_PROXY_TUNNEL') return 'check HTTPS_PROXY and NO_PROXY, then connect again';
  const region = attempt.region ?? 'REGION';
  const endpoint = attempt.endpoint ?? `https://${attempt.operation.split(':')[0]}.${region}.amazonaws.com`;
  return `check the network, HTTPS_PROXY and the region (${quote(region, attempt)}): curl -v ${shellWord(quote(endpoint, attempt))}`;
}

function networkCode(error: unknown): string | undefined {
  for (let at: unknown = error; at instanceof Error; at = at.cause) {
    if ('code' in at && typeof at.code === 'string') {
      const code = (network.exec(at.code) ?? certificate.exec(at.code))?.[1];
      if (code !== undefined) return code;
    }
    if (at.name === 'TimeoutError' || at.name === 'AbortError') return 'ETIMEDOUT';
    // A provider passes on nothing but the text of what went wrong inside it.
    const inText = (network.exec(at.message) ?? certificate.exec(at.message))?.[1];
    if (inText !== undefined) return inText;
    if (at instanceof AggregateError) {
      for (const one of at.errors) {
        const code = networkCode(one);
        if (code !== undefined) return code;
      }
    }
  }
  return undefined;
}

/** `getaddrinfo ENOTFOUND host` and `connect ECONNREFUSED host:port` name who it was. */
function peerIn(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  if ('hostname' in error && typeof error.hostname === 'string') return error.hostname;
  return /\b(?:getaddrinfo E\w+|connect E\w+) ([\w.:[\]-]+)/.exec(error.message)?.[1];
}
