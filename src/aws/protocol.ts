/** What the agent's main thread and an AWS worker say to each other, as structured clones. */
import { type ErrorCode, MintError } from '../errors.ts';

/** Where a call goes and as whom; what is absent comes from the SDK's own chain. */
export interface Target {
  readonly region?: string | undefined;
  readonly profile?: string | undefined;
}

export interface PushRequest extends Target {
  readonly instanceId: string;
  readonly osUser: string;
  /** A bare authorized_keys line: `ssh-ed25519 AAAA…`, no comment, no newline. */
  readonly publicKey: string;
}

export interface PushReply {
  readonly requestId: string;
  /** The AWS account the credentials belong to, where their source says so. */
  readonly account?: string;
}

/** `milliseconds` is what is left of the call's time when the message is sent. */
export type WorkerRequest =
  | {
      readonly id: number;
      readonly kind: 'push';
      readonly milliseconds: number;
      readonly request: PushRequest;
    }
  | { readonly id: number; readonly kind: 'warm'; readonly milliseconds: number; readonly target: Target };

/** A MintError without its cause, which may hold anything and stays in the worker. */
export interface Failure {
  readonly code: ErrorCode;
  readonly message: string;
  readonly hint: string | undefined;
}

export type WorkerReply =
  | { readonly id: number; readonly pushed: PushReply | undefined }
  | { readonly id: number; readonly failure: Failure };

/** Packs an error for the way to the main thread. */
export function packFailure(error: MintError): Failure {
  return { code: error.code, message: error.message, hint: error.hint };
}

/** Makes the error anew on the main thread. */
export function unpackFailure(failure: Failure, clean: (text: string) => string): MintError {
  const hint = failure.hint === undefined ? undefined : clean(failure.hint);
  return new MintError(failure.code, clean(failure.message), { hint });
}
