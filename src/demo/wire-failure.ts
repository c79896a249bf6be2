/**
 * The failures that the stand-in can return, by AWS's names.
 *
 * The first block has the failures of EC2 Instance Connect's model, with names and statuses as in
 * `@aws-sdk/client-ec2-instance-connect`. The second has those that every JSON service of AWS may return:
 * https://docs.aws.amazon.com/ec2-instance-connect/latest/APIReference/CommonErrors.html
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
 * The failures of the services with the Query protocol: those of EC2, then those that STS names differently.
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

/** @returns a failure as a value, which a service returns instead of its answer */
export function wireFailure(name: WireFailureName, message: string): WireFailure {
  return { failure: name, status: allStatuses[name], message };
}

/** The names in the JSON services. */
export const wireFailureNames = Object.keys(statuses) as WireFailureName[];

/** The names in the Query services. */
export const queryFailureNames = Object.keys(queryStatuses) as WireFailureName[];
