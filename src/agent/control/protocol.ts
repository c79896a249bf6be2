/**
 * The messages on `run/control.sock`, one JSON object a line.
 *
 * A proxy opens one connection and keeps it for as long as it lives; the agent knows from the connection that the
 * proxy is alive. The exchange of one login:
 *
 *     proxy                     agent
 *     open                  →
 *                           ←   target           (again if the first was not confirmed)
 *     check-host-key        →
 *                           ←   host-key-checked
 *     await-push            →
 *                           ←   pushed
 *     client-accepted-host  →
 *
 * The agent may send `error` at any time; it is final. The commands of the user send `status`, `stop` and the job
 * requests.
 */
import type { Credentials, TunnelReply } from '../../aws/requests.ts';
import { type ErrorCode, MintError } from '../../errors.ts';
import type { OpenJob } from '../../settings/open-jobs.ts';
import type { Candidate } from '../../vms/candidates.ts';

/**
 * Raise this number when the meaning of a message changes. An agent that hears from a newer program replies
 * `superseded` and exits, and the newer program starts the next agent. An agent refuses an older program, except for
 * a session that is already established.
 */
export const protocolVersion = 5;

export type AgentRequest =
  | OpenRequest
  | JobRequest
  /** No candidate of the target could be reached. The agent replies with a confirmed `target`. */
  | { readonly type: 'retarget' }
  /** Asks for the URL of a tunnel through an EC2 Instance Connect Endpoint. */
  | { readonly type: 'tunnel' }
  /**
   * From the key exchange reply that the proxy holds: the host key (K_S) and the host's signature over the exchange
   * hash, both base64. `host` is the address that the proxy is connected to; it must be one of the target's
   * candidates.
   */
  | {
      readonly type: 'check-host-key';
      readonly hostKey: string;
      readonly signature: string;
      readonly host: string;
    }
  /** The user's answer to a `question`. */
  | { readonly type: 'answer'; readonly answer: Answer }
  /** The user's answer to a `secret-question`; `encodeSecret` writes it. */
  | { readonly type: 'secret'; readonly answer: SecretAnswer }
  /** Asks for `pushed`. */
  | { readonly type: 'await-push' }
  /**
   * The client sent more after it had read the server's encrypted answer, so it accepted the host's signature. Sent a
   * second time when the conversation is longer than that of a refused login.
   */
  | { readonly type: 'client-accepted-host' }
  /** The connection ended before the login could have succeeded. Asks whether the VM refused our key. */
  | { readonly type: 'explain-refusal' }
  /** As `explain-refusal`, before the VM has answered, so that the words are ready if it refuses. */
  | { readonly type: 'prepare-refusal' }
  /** The proxy's `mint-ssh credentials` has ended, or could not be started. */
  | { readonly type: 'credentials-ended'; readonly id: string }
  /** From `mint-ssh credentials`, on a connection of its own: it resolves the credentials that `id` names. */
  | { readonly type: 'credentials-begin'; readonly id: string }
  /** What it waits for, for the user. */
  | { readonly type: 'credentials-progress'; readonly line: string }
  /** Its result, one of the two. */
  | {
      readonly type: 'credentials';
      readonly credentials: Credentials | undefined;
      readonly failure: FailureReply | undefined;
    }
  | SharedCredentials
  | { readonly type: 'status' }
  /** `force`: stop even if that loses keys that exist only in the agent. */
  | { readonly type: 'stop'; readonly force?: boolean | undefined };

/** A command has resolved its credentials: the agent uses them for logins from the same environment. */
export interface SharedCredentials {
  readonly type: 'share-credentials';
  readonly credentials: Credentials;
  /** The profile that they were resolved for: of `--profile` or ssh.toml. */
  readonly profile: string | undefined;
  /** From `filesStamp`, before they were resolved: if the AWS files have changed since, the agent does not keep them. */
  readonly stamp: string;
  /** From `callerEnvironment`. */
  readonly environment: Readonly<Record<string, string>>;
  /** From `sessionKey`. */
  readonly session: string | undefined;
}

export interface OpenRequest {
  readonly type: 'open';
  readonly version: number;
  readonly vm: string;
  readonly port: number | undefined;
  readonly user: string | undefined;
  readonly profile: string | undefined;
  readonly region: string | undefined;
  /** The AWS settings of the caller's environment, from `callerEnvironment`. */
  readonly environment: Readonly<Record<string, string>>;
  /** From `sessionKey`. */
  readonly session: string | undefined;
  /** The path of the user's own agent socket, or `none`; undefined if the proxy cannot tell. */
  readonly upstreamAgent: string | undefined;
  /** The user typed this name to mint-ssh: the VM may be found by its `Name` tag. */
  readonly byName?: boolean | undefined;
  /** True if a live session reports itself to a new agent. The agent pushes no key for it. */
  readonly established: boolean;
}

export type AgentReply =
  /**
   * Where to dial. If `sure` is false, the address may belong to another machine by now: the proxy may dial it, but
   * passes nothing from the server to the client before a `target` that is sure. A new `serial` means: dial again,
   * even if the address is the same.
   */
  | {
      readonly type: 'target';
      /** The preferred one first; never empty. */
      readonly candidates: readonly Candidate[];
      readonly port: number;
      readonly sure: boolean;
      readonly serial: number;
    }
  /** One of the two. A `failure` does not end the connection if other candidates remain. */
  | {
      readonly type: 'tunnel';
      readonly tunnel: TunnelReply | undefined;
      readonly failure: FailureReply | undefined;
    }
  /** A line to show to the user while something takes long; undefined if the proxy is only to keep waiting. */
  | { readonly type: 'progress'; readonly line: string | undefined }
  /** Asks the proxy to start `mint-ssh credentials` in its environment, directory and terminal. */
  | {
      readonly type: 'resolve-credentials';
      readonly id: string;
      readonly profile: string | undefined;
      readonly region: string | undefined;
    }
  /** The reply to `credentials-begin`: a login waits for the result. */
  | { readonly type: 'credentials-wanted' }
  /** The agent has the result of `mint-ssh credentials`. */
  | { readonly type: 'credentials-received' }
  /** The host key is accepted: a pinned one, or a new one. */
  | {
      readonly type: 'host-key-checked';
      readonly outcome: 'match' | 'unknown';
    }
  | { readonly type: 'question'; readonly question: QuestionText }
  | { readonly type: 'secret-question'; readonly question: SecretQuestion }
  /** The VM accepts the key. `pushMilliseconds`: how long the push took; undefined if none was needed. */
  | { readonly type: 'pushed'; readonly pushMilliseconds: number | undefined }
  /**
   * The reply to `explain-refusal` and `prepare-refusal`; `words` is undefined if neither the VM nor the agent refused the
   * key. Sent without a request when the agent cannot use the key.
   */
  | { readonly type: 'refusal'; readonly words: RefusalWords | undefined }
  | { readonly type: 'status'; readonly status: AgentStatus }
  | { readonly type: 'stopping' }
  /** The agent is older than the program that asks. It exits; the program starts the next agent. */
  | { readonly type: 'superseded' }
  | JobReply
  | FailureReply;

/** `cannot-ask`: there is no terminal and no askpass program to ask through. */
export type Answer = 'yes' | 'no' | 'timeout' | 'cannot-ask';

/** A question for the user, and the full words that count as yes. */
export interface QuestionText {
  readonly framed: string;
  readonly prompt: string;
  readonly accepts: readonly string[];
  readonly seconds: number;
}

/** A question whose answer is not echoed. */
export interface SecretQuestion {
  /** One line that ends in a space. */
  readonly prompt: string;
  readonly seconds: number;
}

export type SecretAnswer = { readonly secret: Buffer } | 'no' | 'timeout' | 'cannot-ask';

export interface FailureReply {
  readonly type: 'error';
  readonly code: ErrorCode;
  readonly message: string;
  readonly hint: string | undefined;
  readonly unsafe: boolean;
  /** A warning of several lines to show before the error. */
  readonly warning: string | undefined;
}

/** A job, and whether the agent has its key, which exists only in the memory of the agent. */
export interface Job extends OpenJob {
  /** `lost`: the agent that held its key has ended. */
  readonly state: 'open' | 'lost';
}

/** A request of `mint-ssh job`, with the `protocolVersion` of the sender. */
export type JobRequest =
  | {
      readonly type: 'job-begin';
      readonly version: number;
      readonly name: string;
      readonly user: string;
      /** The public half of the host key that the VM will have, in base64. */
      readonly hostKey: string | undefined;
    }
  | {
      readonly type: 'job-set';
      readonly version: number;
      readonly name: string;
      /** An address or a host name. */
      readonly host: string;
      /** Undefined leaves it as it is; initially it is 22. */
      readonly port: number | undefined;
    }
  | { readonly type: 'job-end'; readonly version: number; readonly name: string }
  | { readonly type: 'job-list'; readonly version: number };

export type JobReply =
  /** For `job-begin` and `job-set`. */
  | { readonly type: 'job'; readonly job: Job }
  | { readonly type: 'job-ended'; readonly job: Job }
  | { readonly type: 'jobs'; readonly jobs: readonly Job[] };

/** Why the login on a connection was refused, in words for the user. */
export interface RefusalWords {
  readonly code: 'login-refused' | 'key-passphrase' | 'agent-unavailable';
  readonly message: string;
  readonly hint: string;
}

export interface AgentStatus {
  readonly pid: number;
  readonly version: string;
  readonly startedAt: string;
  readonly connections: number;
  /** Names of the jobs whose keys the agent holds. */
  readonly jobs: readonly string[];
  /** Names of the managed keys that were unlocked with a passphrase. */
  readonly unlockedKeys: readonly string[];
  readonly vms: readonly {
    readonly name: string;
    readonly socket: string;
    readonly connections: number;
    readonly key: string | undefined;
    readonly pushSecondsLeft: number | undefined;
    /** Why the last request to the user's agent, from an `ssh -A` to it, reached none. */
    readonly forwardingRefused: string | undefined;
  }[];
}

/**
 * @param error any error; its `warning`, if it has one, is sent too
 * @returns the reply that tells the client of it
 */
export function failureReply(error: unknown): FailureReply {
  const known =
    error instanceof MintError
      ? error
      : new MintError('agent-unavailable', `the agent failed: ${String(error)}`);
  const { code, message, hint, unsafe } = known;
  const { warning } = known as { readonly warning?: string };
  return { type: 'error', code, message, hint, unsafe, warning };
}
