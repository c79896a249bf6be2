/** The types that the stand-in cloud and its services share. */
import type { IncomingHttpHeaders } from 'node:http';
import type { WireFailure, WireFailureName } from './wire-failure.ts';

/** An access key of the stand-in. */
export interface AccessKey {
  readonly secret: string;
  /** Temporary credentials are valid only with their session token. */
  readonly sessionToken?: string;
  /** Milliseconds since 1970. From then on, the token of temporary credentials is refused. */
  readonly expiresAt?: number;
  /** The failure that every call of this caller gets, such as `AccessDeniedException`. */
  readonly refusal?: WireFailureName;
}

/** An access key and the identity of its holder. */
export interface CallerKey extends AccessKey {
  /** Such as `arn:aws:iam::123456789012:user/anna`; default: a user named after the key. */
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

/** The sender of a request with a valid signature. */
export interface Caller {
  readonly accessKeyId: string;
  /** From the credential scope of the signature. */
  readonly region: string;
}

/** A caller's identity in IAM. */
export interface CallerIdentity {
  readonly account: string;
  readonly arn: string;
}

/** A request for a service, with its operation and caller. */
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

/** A service. A JSON service reads `X-Amz-Target`, a query service reads `Action=` in the body. */
export interface CloudService {
  /** The service's name in the credential scope and in IAM's actions, such as `ec2-instance-connect`. */
  readonly signingName: string;
  /** The operation if the request is for this service, else undefined. */
  operation(request: CloudRequest): string | undefined;
  answer(call: CloudCall): CloudAnswer | WireFailure;
  /** A failure in this service's wire format. */
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

/** Hooks between a request and its answer. `parts` are the service's signing name and the operation. */
export interface Interceptor {
  /** Resolves when a request may be read. Called before it is read. */
  admit(): Promise<void>;
  /** Resolves when the request for these parts may go on. */
  admitTo(parts: readonly string[]): Promise<void>;
  /** The failure to return for a request with a valid signature, if any. */
  takeFailure(parts: readonly string[]): WireFailureName | undefined;
  /** Whether to close the connection instead of answering. */
  takeLostAnswer(parts: readonly string[]): boolean;
  answered(record: RequestRecord): void;
}
