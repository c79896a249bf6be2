/** What one AWS service of the stand-in is: how its requests are known, and what it answers. */
import type { IncomingHttpHeaders } from 'node:http';
import type { AccessKey } from './signature.ts';
import type { WireFailure } from './wire-failure.ts';

/** An access key, and who its holder is. */
export interface CallerKey extends AccessKey {
  /** Such as `arn:aws:iam::123456789012:user/anna`; a user named after the key, where absent. */
  readonly arn?: string;
  readonly account?: string;
  /** The IAM actions that are refused, such as `ec2:GetConsoleOutput`. */
  readonly denied?: readonly string[];
}

export interface CloudRequest {
  readonly method: string;
  /** The path, without the query. */
  readonly path: string;
  readonly query: Readonly<Record<string, string | string[]>>;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

/** Who sent a request whose signature was right. */
export interface Caller {
  readonly accessKeyId: string;
  /** From the credential scope of the signature. */
  readonly region: string;
}

/** Who a caller is to IAM. */
export interface CallerIdentity {
  readonly account: string;
  readonly arn: string;
}

/** A request that is a service's: its operation, and the answer once the caller is known. */
export interface CloudCall {
  readonly request: CloudRequest;
  readonly operation: string;
  readonly caller: Caller & CallerIdentity;
  readonly requestId: string;
}

export interface CloudAnswer {
  readonly status: number;
  readonly contentType: string;
  readonly body: string;
}

/** One file each: a JSON service looks at `X-Amz-Target`, a query service at `Action=` in the body. */
export interface CloudService {
  /** The service's name in the credential scope and in IAM's actions, such as `ec2-instance-connect`. */
  readonly signingName: string;
  /** The operation where the request is this service's, else undefined. */
  operation(request: CloudRequest): string | undefined;
  answer(call: CloudCall): CloudAnswer | WireFailure;
  /** A failure in this service's wire shape. */
  failure(failure: WireFailure, requestId: string): CloudAnswer & { readonly errorType: string | undefined };
}
