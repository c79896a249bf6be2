/** The types that the stand-in cloud and its services share. */
import type { IncomingHttpHeaders } from 'node:http';
import type { WireFailure, WireFailureName } from './wire-failure.ts';

/** An access key as the stand-in knows it. */
export interface AccessKey {
  readonly secret: string;
  /** Temporary credentials are only good with their session token. */
  readonly sessionToken?: string;
  /** Milliseconds since 1970; the token of temporary credentials is refused from then on. */
  readonly expiresAt?: number;
  /** The failure that answers every call of this caller, such as `AccessDeniedException`. */
  readonly refusal?: WireFailureName;
}

/** An access key and the identity of its holder. */
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

/** A request that was answered, or whose answer was lost. */
export interface RequestRecord {
  readonly operation: string;
  readonly requestId: string;
  readonly accessKeyId: string | undefined;
  readonly failure: WireFailureName | undefined;
  /** Milliseconds since 1970, when it was answered. */
  readonly at: number;
}

/** What can come between a request and its answer. `parts` are the service's signing name and the operation. */
export interface Interceptor {
  /** Resolves when a request may be read; called before anything is known of it. */
  admit(): Promise<void>;
  /** Resolves when the request for these parts may go on. */
  admitTo(parts: readonly string[]): Promise<void>;
  /** The failure that answers a request whose signature was right. */
  takeFailure(parts: readonly string[]): WireFailureName | undefined;
  /** Whether to cut the connection in place of the answer. */
  takeLostAnswer(parts: readonly string[]): boolean;
  answered(record: RequestRecord): void;
}
