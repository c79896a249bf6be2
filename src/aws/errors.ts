/** Converts what the SDK throws to a MintError: a code, AWS's message with its request ID, and a hint. */
import { command, ec2Id, idOr, shellWord } from '../cli/shell-command.ts';
import { printable } from '../cli/terminal.ts';
import { type ErrorCode, MintError } from '../errors.ts';
import type { Source } from './requests.ts';

/** The known facts about a running call to AWS, to explain a failure. */
export interface Attempt {
  /** As IAM names it, such as `ec2-instance-connect:SendSSHPublicKey`. */
  readonly operation: string;
  readonly region: string;
  /** The explicit profile, or the one that the environment names. */
  readonly profile: string | undefined;
  readonly source: Source;
  readonly instanceId?: string | undefined;
  readonly osUser?: string | undefined;
  /** Text that must not appear in any message. */
  readonly secrets: readonly string[];
  /** Where the request went, once it is known: scheme, host and port. */
  endpoint?: string | undefined;
  /** The caller's ARN, if AWS was asked for it. */
  identity?: string | undefined;
}

interface Row {
  readonly code: ErrorCode | ((attempt: Attempt) => ErrorCode);
  readonly what: (attempt: Attempt) => string;
  readonly hint: (attempt: Attempt) => string;
}

const denied: Row = {
  code: 'aws-denied',
  what: (attempt) =>
    isPush(attempt)
      ? `AWS does not allow a key to be sent to ${vm(attempt)} as ${attempt.osUser ?? 'this user'}${forWhom(attempt)}`
      : `AWS does not allow ${attempt.operation}${attempt.instanceId === undefined ? '' : ` on ${attempt.instanceId}`}${forWhom(attempt)}`,
  hint: (attempt) =>
    attempt.identity === undefined
      ? `allow ${permission(attempt)}, for: aws sts get-caller-identity${profileOption(attempt.profile)}`
      : `allow ${permission(attempt)} to ${quote(attempt.identity, attempt)}`,
};

const notFound: Row = {
  code: 'vm-not-found',
  what: (attempt) => `there is no instance ${vm(attempt)} in ${attempt.region}${forWhom(attempt)}`,
  hint: (attempt) =>
    'check the region, and whether the VM was recreated: ' +
    `aws ec2 describe-instances${instanceOption(attempt)}, then set region or instance in ssh.toml`,
};

const notRunning: Row = {
  code: 'vm-not-running',
  what: (attempt) => `the instance ${vm(attempt)} is not running`,
  hint: (attempt) => `aws ec2 start-instances${instanceOption(attempt)}`,
};

const notStartable: Row = {
  code: 'vm-not-running',
  what: (attempt) => `the instance ${vm(attempt)} cannot be started now`,
  hint: (attempt) =>
    `see its state, and connect again in a moment: aws ec2 describe-instances${instanceOption(attempt)}`,
};

const badInstance: Row = {
  code: 'bad-settings',
  what: (attempt) => `invalid instance ID: ${vm(attempt)}`,
  hint: () => 'check instance of this VM in ssh.toml',
};

const throttled: Row = {
  code: 'aws-throttled',
  what: () => 'AWS is throttling requests',
  hint: () => 'wait a few seconds and connect again; fewer connections at once help',
};

const serviceDown: Row = {
  code: (attempt) => (isPush(attempt) ? 'push-failed' : 'aws-unreachable'),
  what: (attempt) => `${isPush(attempt) ? 'EC2 Instance Connect' : 'AWS'} returned an internal error`,
  hint: () => 'connect again in a moment; https://health.aws.amazon.com shows whether AWS has trouble',
};

const badArguments: Row = {
  code: 'push-failed',
  what: (attempt) => `AWS did not accept the request for ${vm(attempt)} as ${attempt.osUser ?? 'this user'}`,
  hint: () => 'check instance and user of this VM in ssh.toml',
};

/** By the error's name, which JSON 1.1 services send as `__type`. */
const rows: ReadonlyMap<string, Row> = new Map([
  ['AuthException', denied],
  ['AccessDeniedException', denied],
  ['AccessDenied', denied],
  ['UnauthorizedOperation', denied],
  ['UnauthorizedException', denied],
  ['InvalidArgsException', badArguments],
  ['ValidationException', badArguments],
  ['EC2InstanceNotFoundException', notFound],
  ['EC2InstanceStateInvalidException', notRunning],
  ['EC2InstanceUnavailableException', notRunning],
  ['Throttling', throttled],
  ['ThrottlingException', throttled],
  ['ThrottledException', throttled],
  ['TooManyRequestsException', throttled],
  ['RequestLimitExceeded', throttled],
  ['ServiceException', serviceDown],
  ['InternalServerError', serviceDown],
  ['InternalServerException', serviceDown],
  ['InternalFailure', serviceDown],
  ['ServiceUnavailable', serviceDown],
  ['ServiceUnavailableException', serviceDown],
  // EC2's own names: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
  ['Blocked', denied],
  ['InvalidInstanceID.NotFound', notFound],
  ['InvalidInstanceID.Malformed', badInstance],
  ['IncorrectInstanceState', notStartable],
  ['IncorrectState', notStartable],
  ['InsufficientInstanceCapacity', notStartable],
  ['InternalError', serviceDown],
  ['Unavailable', serviceDown],
]);

const expired = /^(ExpiredToken|RequestExpired|TokenRefreshRequired)/;
const invalid =
  /^(UnrecognizedClient|AuthFailure|InvalidSignature|IncompleteSignature|InvalidClientTokenId|InvalidAccessKeyId|SignatureDoesNotMatch|MissingAuthenticationToken|NotAuthorized|OptInRequired)/;
const skewed = /signature.*(expired|not yet current)|RequestTimeTooSkewed|RequestInTheFuture/i;

/** Whether the failure depends on who the caller is, so that a message should name the identity. */
export function dependsOnIdentity(error: unknown): boolean {
  const row = error instanceof Error ? rows.get(error.name) : undefined;
  return row === denied || row === notFound;
}

/** Converts the error of a call to AWS; never throws. */
export function explainFailure(error: unknown, attempt: Attempt): MintError {
  if (error instanceof MintError) return error;
  if (!(error instanceof Error)) return other(new Error(String(error)), attempt);
  const row = rows.get(error.name);
  if (row !== undefined) return explained(row, error, attempt);
  const { httpStatusCode } = metadata(error);
  const network = httpStatusCode === undefined ? unreachable(error, attempt) : undefined;
  if (network !== undefined) return network;
  if (skewed.test(`${error.name} ${error.message}`)) {
    return new MintError('aws-credentials', `this machine's clock is not AWS's: ${said(error, attempt)}`, {
      hint: 'set the clock, for example with: sudo timedatectl set-ntp true',
      cause: error,
    });
  }
  if (expired.test(error.name)) return rejected(error, attempt, 'expired');
  if (invalid.test(error.name)) return rejected(error, attempt, 'invalid');
  if (/Region is missing|Invalid region/i.test(error.message)) {
    return new MintError('bad-settings', `the AWS region cannot be used: ${quote(error.message, attempt)}`, {
      hint: 'set region in ssh.toml or AWS_REGION',
      cause: error,
    });
  }
  if (error instanceof SyntaxError) return notAws(error, attempt, httpStatusCode);
  // EC2 has dozens of reasons: quotas, capacity of a host or of a reservation, a key of KMS, a spot request.
  if (attempt.operation === 'ec2:StartInstances' && httpStatusCode !== undefined)
    return explained(notStartable, error, attempt);
  return other(error, attempt);
}

function explained(row: Row, error: Error, attempt: Attempt): MintError {
  const code = typeof row.code === 'function' ? row.code(attempt) : row.code;
  return new MintError(code, `${row.what(attempt)}: ${said(error, attempt)}`, {
    hint: row.hint(attempt),
    cause: error,
  });
}

/** A call that was not answered after `milliseconds`. */
export function explainTimeout(attempt: Attempt, milliseconds: number): MintError {
  const seconds = Math.max(1, Math.ceil(milliseconds / 1000));
  const where = quote(endpointHost(attempt) ?? 'AWS', attempt);
  return new MintError('aws-unreachable', `${where} gave no answer within ${seconds} s`, {
    hint: networkHint('ETIMEDOUT', attempt),
  });
}

/** @returns the error if no source of credentials is configured */
export function noCredentialsAt(profile: string | undefined): MintError {
  return profile === undefined
    ? new MintError('aws-credentials', 'there are no AWS credentials', {
        hint: 'aws sso login, or name a profile in ssh.toml or AWS_PROFILE',
      })
    : new MintError('aws-credentials', `the profile ${quoteForeign(profile)} has no credentials`, {
        hint: `aws configure sso${profileOption(profile)}`,
      });
}

/**
 * Explains why a source returned no credentials. The source is known, so nothing is guessed from the text of the error.
 * @param mfa what was typed where an MFA code was asked for
 */
export function explainNoCredentials(
  error: unknown,
  source: Source,
  mfa: { readonly code: string | undefined; readonly isRefused: boolean },
  secrets: readonly string[],
): MintError {
  const { kind, profile } = source;
  const option = profileOption(profile);
  const of = profile === undefined ? '' : ` of profile ${quoteForeign(profile)}`;
  const hidden = mfa.code === undefined ? secrets : [...secrets, mfa.code];
  const thrown = error instanceof Error ? error : new Error(String(error));
  const text = quoteForeign(thrown.message, hidden);
  const give = (code: ErrorCode, what: string, hint: string) =>
    new MintError(code, what, { hint, cause: error });

  if (mfa.isRefused) {
    return give(
      'aws-credentials',
      `the role${of} needs an MFA code, and none was entered`,
      'connect from a terminal, or set SSH_ASKPASS to a program that asks',
    );
  }
  const process = processFailure(thrown);
  if (source.runsProcess && process !== undefined) {
    const words = quoteForeign(process.words.trim().split(/\r?\n/).slice(-3).join(' '), hidden);
    return give(
      'aws-credentials',
      `the credential_process${of} ${process.how}${words === '' ? '' : `: ${words}`}`,
      `run the command that \`aws configure get credential_process${option}\` shows, and fix what it reports`,
    );
  }
  const network = unreachableHost(thrown, hidden);
  if (network !== undefined && kind !== 'instance') return network;
  if (mfa.code !== undefined && /MultiFactorAuthentication|MFA|one time pass code/i.test(thrown.message)) {
    return give(
      'aws-credentials',
      `AWS did not accept the MFA code: ${text}`,
      'connect again with the next code',
    );
  }
  if (/AccessDenied|ForbiddenException|No access/.test(`${thrown.name} ${thrown.message}`)) {
    return give(
      'aws-denied',
      `AWS does not grant the role${of}: ${text}`,
      `ask your AWS administrator for the role, or change it; \`aws configure list${option}\` shows the settings`,
    );
  }
  switch (kind) {
    case 'sso': {
      const words = quoteForeign(thrown.message.replace(/To refresh this SSO session.*/s, ''), hidden);
      return give(
        'aws-credentials',
        `there is no valid SSO session${of}: ${words}`,
        `aws sso login${option}`,
      );
    }
    case 'login':
      return give('aws-credentials', `no AWS credentials: ${text}`, `aws login${option}`);
    case 'process':
      return give(
        'aws-credentials',
        `the credential_process${of} printed no credentials: ${text}`,
        `run the command that \`aws configure get credential_process${option}\` shows, and fix what it reports`,
      );
    case 'instance':
      return noCredentialsAt(profile);
    default:
      return give(
        'aws-credentials',
        `no AWS credentials${of}: ${text}`,
        `see what is wrong with: aws sts get-caller-identity${option}`,
      );
  }
}

/** Parses the message of credential-process.ts: how the process ended, then its output. */
function processFailure(error: Error): { readonly how: string; readonly words: string } | undefined {
  const [, how, words = ''] = /^credential_process ([^\n]*)\n?(.*)$/s.exec(error.message) ?? [];
  return how === undefined ? undefined : { how, words };
}

/** The error for credentials that AWS does not accept, or no longer. */
function rejected(error: Error, attempt: Attempt, why: 'expired' | 'invalid'): MintError {
  const what = why === 'expired' ? 'the AWS credentials have expired' : 'AWS does not know these credentials';
  return new MintError('aws-credentials', `${what}: ${said(error, attempt)}`, {
    hint: renewal(attempt.source, why),
    cause: error,
  });
}

function renewal({ kind, profile }: Source, why: 'expired' | 'invalid'): string {
  const option = profileOption(profile);
  switch (kind) {
    case 'login':
      return `aws login${option}`;
    case 'process':
      return `run the command that \`aws configure get credential_process${option}\` shows, and fix what it reports`;
    case 'environment':
      return 'export new AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, or unset them and: aws sso login';
    case 'credentials-file':
    case 'config-file':
      return `put new keys into ~/.aws/${kind === 'config-file' ? 'config' : 'credentials'}${
        why === 'expired' ? `, or: aws sso login${option}` : ` with: aws configure${option}`
      }`;
    case 'container':
    case 'instance':
      return 'wait a moment and connect again: this machine gets its credentials by itself';
    default:
      return `aws sso login${option}`;
  }
}

/** The error for an answer of another server: a sign-in page, a proxy's error page, a wrong endpoint setting. */
function notAws(error: Error, attempt: Attempt, status: number | undefined): MintError {
  const where = quote(endpointHost(attempt) ?? 'the endpoint', attempt);
  const answered = status === undefined ? '' : ` (HTTP ${status})`;
  return new MintError('aws-unreachable', `${where} answered, but not as AWS does${answered}`, {
    hint: 'there may be a sign-in page or a proxy in between: check HTTPS_PROXY, and AWS_ENDPOINT_URL if set',
    cause: error,
  });
}

function other(error: Error, attempt: Attempt): MintError {
  const what = isPush(attempt) ? 'the key could not be sent' : `${attempt.operation} failed`;
  return new MintError(
    isPush(attempt) ? 'push-failed' : 'io-failed',
    `${what}: ${quote(error.name, attempt)}: ${said(error, attempt)}`,
    {
      hint: `see whether AWS answers at all: aws sts get-caller-identity${profileOption(attempt.profile)}`,
      cause: error,
    },
  );
}

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
  ERR_PROXY_TUNNEL: 'the proxy refused the connection',
};

/** The error for a failure below HTTP: names, sockets, TLS, proxies. Undefined for another error. */
function unreachable(error: Error, attempt: Attempt): MintError | undefined {
  const found = networkCode(error);
  if (found === undefined) return undefined;
  const peer = peerIn(error);
  const where = endpointHost(attempt) ?? peer ?? 'AWS';
  // A resolved address, or the proxy's.
  const through = peer === undefined || peer === where ? '' : ` (${quote(peer, attempt)})`;
  const what = described[found] ?? found;
  return new MintError('aws-unreachable', `${quote(where, attempt)} cannot be reached: ${what}${through}`, {
    hint: networkHint(found, attempt),
    cause: error,
  });
}

/** The error for a network failure while credentials are resolved, in which only the error has the host. */
function unreachableHost(error: Error, secrets: readonly string[]): MintError | undefined {
  const found = networkCode(error);
  if (found === undefined) return undefined;
  const where = quoteForeign(peerIn(error) ?? 'AWS', secrets);
  const message = `${where} cannot be reached: ${described[found] ?? found}`;
  return new MintError('aws-unreachable', message, {
    hint: certificate.test(found)
      ? certificateHint
      : 'check the network and HTTPS_PROXY; the AWS credentials are asked for there',
    cause: error,
  });
}

const certificateHint =
  "something between you and AWS has its own certificate: let AWS_CA_BUNDLE or ca_bundle of the profile name your company's CA file";

function networkHint(code: string, attempt: Attempt): string {
  if (certificate.test(code)) return certificateHint;
  if (code === 'ERR_PROXY_TUNNEL') return 'check HTTPS_PROXY and NO_PROXY, then connect again';
  const { region } = attempt;
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
    // A credential provider passes on only the text of the inner error.
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

/** `getaddrinfo ENOTFOUND host` and `connect ECONNREFUSED host:port` name the peer. */
function peerIn(error: Error): string | undefined {
  if ('hostname' in error && typeof error.hostname === 'string') return error.hostname;
  return /\b(?:getaddrinfo E\w+|connect E\w+) ([\w.:[\]-]+)/.exec(error.message)?.[1];
}

/** ` --profile NAME`, quoted where a shell needs it, for a command in a hint. */
export function profileOption(profile: string | undefined): string {
  return profile === undefined || profile === 'default' ? '' : ` --profile ${shellWord(profile)}`;
}

function permission(attempt: Attempt): string {
  const { operation, instanceId = '', osUser = '' } = attempt;
  return isPush(attempt)
    ? `${operation} on the instance ${instanceId} where ec2:osuser is ${osUser}`
    : operation;
}

function isPush({ operation }: Attempt): boolean {
  return operation === 'ec2-instance-connect:SendSSHPublicKey';
}

function vm(attempt: Attempt): string {
  return attempt.instanceId ?? 'the VM';
}

function forWhom(attempt: Attempt): string {
  return attempt.identity === undefined ? '' : ` for ${quote(attempt.identity, attempt)}`;
}

function instanceOption({ instanceId, region, profile }: Attempt): string {
  const instance =
    instanceId === undefined ? '' : command` --instance-ids ${idOr(instanceId, ec2Id, 'INSTANCE')}`;
  return `${instance} --region ${shellWord(region)}${profileOption(profile)}`;
}

/** Host and port of the endpoint. */
function endpointHost(attempt: Attempt): string | undefined {
  return attempt.endpoint?.replace(/^https?:\/\//, '');
}

/** At most this many characters of foreign text are shown. */
const maxQuoted = 300;

/** @returns untrusted text on one line, shortened, without secrets and without a final full stop */
export function quoteForeign(text: string, secrets: readonly string[] = []): string {
  let safe = text;
  for (const secret of secrets) if (secret.length >= 6) safe = safe.replaceAll(secret, '[hidden]');
  safe = safe
    .replace(/\/\/[^/@\s]*@/g, '//[hidden]@')
    // In EC2's answer to a denied request: a kilobyte that only an administrator can decode.
    .replace(/\s*Encoded authorization failure message: [\w-]+/g, '')
    .replace(/\s+/g, ' ')
    .trim()
    .replace(/\.$/, '');
  return printable(safe.length > maxQuoted ? `${safe.slice(0, maxQuoted)}…` : safe);
}

function quote(text: string, attempt: Attempt): string {
  return quoteForeign(text, attempt.secrets);
}

/** The service's message, with the request ID. */
function said(error: Error, attempt: Attempt): string {
  const { requestId } = metadata(error);
  const text = quote(error.message || error.name, attempt);
  return requestId === undefined ? text : `${text} (request ${quote(requestId, attempt)})`;
}

/** The metadata that the SDK attaches to an error answer. */
function metadata(error: Error): {
  readonly requestId?: string | undefined;
  readonly httpStatusCode?: number | undefined;
} {
  if (!('$metadata' in error) || typeof error.$metadata !== 'object' || error.$metadata === null) return {};
  return error.$metadata;
}
