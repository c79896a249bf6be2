/**
 * The Security Token Service's GetCallerIdentity, in the Query protocol.
 * https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html
 */
import type { CloudService } from '../../src/demo/cloud-service.ts';
import { elements, queryForm, translated, xmlAnswer } from '../../src/demo/ec2-xml.ts';
import { type WireFailureName, wireFailure } from '../../src/demo/wire-failure.ts';

const version = '2011-06-15';
const namespace = `https://sts.amazonaws.com/doc/${version}/`;

const names: Readonly<Partial<Record<WireFailureName, WireFailureName>>> = {
  AccessDeniedException: 'AccessDenied',
  ExpiredTokenException: 'ExpiredToken',
  IncompleteSignatureException: 'IncompleteSignature',
  InvalidSignatureException: 'SignatureDoesNotMatch',
  MissingAuthenticationTokenException: 'MissingAuthenticationToken',
  ThrottlingException: 'Throttling',
  UnknownOperationException: 'InvalidAction',
  UnrecognizedClientException: 'InvalidClientTokenId',
};

export function securityTokens(): CloudService {
  return {
    signingName: 'sts',
    operation: (request) => queryForm(request, version)?.get('Action') ?? undefined,
    answer({ operation, caller, requestId }) {
      if (operation !== 'GetCallerIdentity') {
        return wireFailure('InvalidAction', `Could not find operation ${operation} for version ${version}`);
      }
      const { arn, account, accessKeyId } = caller;
      const body = elements({
        GetCallerIdentityResult: { Arn: arn, UserId: accessKeyId.replace(/^AKIA/, 'AIDA'), Account: account },
        ResponseMetadata: { RequestId: requestId },
      });
      return xmlAnswer(
        200,
        `<GetCallerIdentityResponse xmlns="${namespace}">${body}</GetCallerIdentityResponse>`,
      );
    },
    failure(failure, requestId) {
      const { failure: Code, status, message: Message } = translated(failure, names);
      const body = elements({ Error: { Type: 'Sender', Code, Message }, RequestId: requestId });
      return {
        ...xmlAnswer(status, `<ErrorResponse xmlns="${namespace}">${body}</ErrorResponse>`),
        errorType: undefined,
      };
    },
  };
}
