/**
 * The failures the stand-in can answer with, by AWS's own names.
 *
 * The first block is EC2 Instance Connect's model (names and statuses as in
 * `@aws-sdk/client-ec2-instance-connect`); the second is what every JSON service of AWS answers before a
 * request reaches the service. https://docs.aws.amazon.com/ec2-instance-connect/latest/APIReference/CommonErrors.html
 */
const statuses = {
  AuthException: 403,
  EC2InstanceNotFoundException: 404,
  EC2InstanceStateInvalidException: 400,
  EC2InstanceTypeInvalidException: 400,
  EC2InstanceUnavailableException: 503,
  InvalidArgsException: 400,
  ServiceException: 500,
  ThrottlingException: 429,

  AccessDeniedException: 400,
  ExpiredTokenException: 400,
  IncompleteSignatureException: 400,
  InvalidSignatureException: 400,
  MissingAuthenticationTokenException: 400,
  RequestEntityTooLarge: 413,
  SerializationException: 400,
  UnknownOperationException: 404,
  UnrecognizedClientException: 400,
} as const;

/**
 * What the services of the Query protocol answer with: EC2 first, then what STS says in words of its own.
 * https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html and
 * https://docs.aws.amazon.com/STS/latest/APIReference/CommonErrors.html
 */
const queryStatuses = {
  AuthFailure: 401,
  IncorrectInstanceState: 400,
  InsufficientInstanceCapacity: 500,
  InternalError: 500,
  InvalidAction: 400,
  'InvalidInstanceID.Malformed': 400,
  'InvalidInstanceID.NotFound': 400,
  'InvalidKey.Format': 400,
  'InvalidKeyPair.Duplicate': 400,
  'InvalidKeyPair.NotFound': 400,
  InvalidParameterCombination: 400,
  InvalidParameterValue: 400,
  MissingParameter: 400,
  RequestExpired: 400,
  RequestLimitExceeded: 503,
  UnauthorizedOperation: 403,
  Unavailable: 503,
  UnknownParameter: 400,
  UnsupportedOperation: 400,

  AccessDenied: 403,
  ExpiredToken: 403,
  IncompleteSignature: 400,
  InvalidClientTokenId: 403,
  MissingAuthenticationToken: 403,
  SignatureDoesNotMatch: 403,
  Throttling: 400,
} as const;

const allStatuses = { ...statuses, ...queryStatuses };

export type WireFailureName = keyof typeof allStatuses;

export interface WireFailure {
  readonly failure: WireFailureName;
  readonly status: number;
  readonly message: string;
}

/** A failure as a value: services return it where they would have returned their answer. */
export function wireFailure(name: WireFailureName, message: string): WireFailure {
  return { failure: name, status: allStatuses[name], message };
}

/** The names the JSON services use. */
export const wireFailureNames = Object.keys(statuses) as WireFailureName[];

/** The names the Query services use. */
export const queryFailureNames = Object.keys(queryStatuses) as WireFailureName[];
