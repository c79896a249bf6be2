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

export type WireFailureName = keyof typeof statuses;

export interface WireFailure {
  readonly failure: WireFailureName;
  readonly status: number;
  readonly message: string;
}

/** A failure as a value: services return it where they would have returned their answer. */
export function wireFailure(name: WireFailureName, message: string): WireFailure {
  return { failure: name, status: statuses[name], message };
}

export const wireFailureNames = Object.keys(statuses) as WireFailureName[];
