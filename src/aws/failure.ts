/** What the SDK throws, as a MintError: a code, what AWS said with its request id, and a command that mends it. */
import { command, ec2Id, idOr } from '../cli/shell-command.ts';
import { type ErrorCode, MintError } from '../errors.ts';
import { type Attempt, endpointHost, profileOption, regionOption } from './attempt.ts';
import { isProviderError, noCredentials, rejectedCredentials } from './credentials-failure.ts';
import { metadata, quote, said } from './quote.ts';
import { tooLate, unreachable } from './unreachable.ts';

interface Row {
  readonly code: ErrorCode | ((attempt: Attempt) => ErrorCode);
  readonly what: (attempt: Attempt) => string;
  readonly hint: (attempt: Attempt) => string;
}

const denied: Row = {
  code: 'aws-denied',
  what: (attempt) =>
    isPush(attempt)
      ? `AWS does not allow a key to be sent to ${vm(attempt)} as ${attempt.osUser ?? 'this user'}`
      : `AWS does not allow ${attempt.operation}${attempt.instanceId === undefined ? '' : ` on ${attempt.instanceId}`}`,
  hint: (attempt) =>
    `allow ${permission(attempt)}, for: aws sts get-caller-identity${profileOption(attempt)}`,
};

const notFound: Row = {
  code: 'vm-not-found',
  what: (attempt) => `there is no instance ${vm(attempt)} in ${attempt.region ?? 'this region'}`,
  hint: (attempt) =>
    'is the region right, was the VM recreated? see ' +
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
  what: (attempt) => `${vm(attempt)} is no instance id`,
  hint: () => 'check instance of this VM in ssh.toml',
};

const throttled: Row = {
  code: 'aws-throttled',
  what: () => 'AWS takes no more requests for the moment',
  hint: () => 'wait a few seconds and connect again; fewer connections at once help',
};

const serviceDown: Row = {
  code: (attempt) => (isPush(attempt) ? 'push-failed' : 'aws-unreachable'),
  what: (attempt) => `${isPush(attempt) ? 'EC2 Instance Connect' : 'AWS'} had an error of its own`,
  hint: () => 'connect again in a moment; https://health.aws.amazon.com shows whether AWS has trouble',
};

const badArguments: Row = {
  code: 'push-failed',
  what: (attempt) => `AWS did not take the request for ${vm(attempt)} as ${attempt.osUser ?? 'this user'}`,
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

/** Takes what a call to AWS threw and what is known about the call; never throws. */
export function explainFailure(error: unknown, attempt: Attempt): MintError {
  if (!(error instanceof Error)) return other(new Error(String(error)), attempt);
  if (attempt.stage === 'region') return noRegion(error, attempt);
  const row = rows.get(error.name);
  if (row !== undefined && (attempt.stage === 'endpoint' || row === throttled)) {
    const code = typeof row.code === 'function' ? row.code(attempt) : row.code;
    return new MintError(code, `${row.what(attempt)}: ${said(error, attempt)}`, {
      hint: row.hint(attempt),
      cause: error,
    });
  }
  const { httpStatusCode } = metadata(error);
  if (httpStatusCode === undefined && !/^Command failed:/.test(error.message)) {
    const network = unreachable(error, attempt);
    if (network !== undefined) return network;
  }
  if (
    /signature.*(expired|not yet current)|RequestTimeTooSkewed|RequestInTheFuture/i.test(
      `${error.name} ${error.message}`,
    )
  ) {
    return new MintError('aws-credentials', `this machine's clock is not AWS's: ${said(error, attempt)}`, {
      hint: 'set the clock, for example with: sudo timedatectl set-ntp true',
      cause: error,
    });
  }
  if (expired.test(error.name)) return rejectedCredentials(error, attempt, 'expired');
  if (invalid.test(error.name)) return rejectedCredentials(error, attempt, 'invalid');
  if (attempt.stage === 'credentials' || isProviderError(error)) return noCredentials(error, attempt);
  if (error instanceof SyntaxError) return notAws(error, attempt, httpStatusCode);
  return other(error, attempt);
}

/** A call that was not done after `milliseconds`, by what it was waiting for. */
export function explainTimeout(attempt: Attempt, milliseconds: number): MintError {
  if (attempt.stage === 'endpoint') return tooLate(attempt, milliseconds);
  const seconds = Math.max(1, Math.ceil(milliseconds / 1000));
  return new MintError('aws-credentials', `there were no AWS credentials within ${seconds} s`, {
    hint: `see what takes so long: aws sts get-caller-identity${profileOption(attempt)}`,
  });
}

function noRegion(error: Error, attempt: Attempt): MintError {
  const missing = /Region is missing/.test(error.message);
  const what = missing
    ? 'no AWS region is set'
    : `the AWS region cannot be used: ${quote(error.message, attempt)}`;
  return new MintError('bad-settings', what, { hint: 'set region in ssh.toml or AWS_REGION', cause: error });
}

/** A captive portal, a proxy's error page, an endpoint setting that points elsewhere. */
function notAws(error: Error, attempt: Attempt, status: number | undefined): MintError {
  const where = quote(endpointHost(attempt) ?? 'the endpoint', attempt);
  const answered = status === undefined ? '' : ` (HTTP ${status})`;
  return new MintError('aws-unreachable', `${where} answered, but not as AWS does${answered}`, {
    hint: 'is there a sign-in page or a proxy in between? check HTTPS_PROXY, and AWS_ENDPOINT_URL where you set it',
    cause: error,
  });
}

function other(error: Error, attempt: Attempt): MintError {
  const what = isPush(attempt) ? 'the key could not be sent' : `${attempt.operation} failed`;
  return new MintError(
    isPush(attempt) ? 'push-failed' : 'io-failed',
    `${what}: ${quote(error.name, attempt)}: ${said(error, attempt)}`,
    {
      hint: `see whether AWS answers at all: aws sts get-caller-identity${profileOption(attempt)}`,
      cause: error,
    },
  );
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

function instanceOption(attempt: Attempt): string {
  const { instanceId } = attempt;
  return `${instanceId === undefined ? '' : command` --instance-ids ${idOr(instanceId, ec2Id, 'INSTANCE')}`}${regionOption(attempt)}${profileOption(attempt)}`;
}
