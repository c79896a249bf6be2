/**
 * What the proxy and the agent say to each other over `run/control.sock`: one JSON object a line.
 *
 * A proxy opens one connection and keeps it for its life; the connection *is* the agent's knowledge that
 * the proxy lives. `open` → `target`, and another `target` where the first was not sure; `seen` → `verdict`; `ready` → `go`; an `error` may come at any time
 * and is final. `status` and `stop` are for people.
 */
import type { TunnelReply } from '../aws/workers.ts';
import { type ErrorCode, MintError } from '../errors.ts';
import type { Way } from '../vms/ways.ts';
import { malformed, record } from './control-fields.ts';
import type { JobReply, JobRequest } from './job-protocol.ts';

/**
 * Raised whenever a message changes its meaning. An older agent makes way for whoever brings a newer version
 * (`makes-way`); whoever comes with an older one is refused, but for a session that stands already.
 */
export const protocolVersion = 3;

export type AgentRequest =
  | OpenRequest
  | JobRequest
  /** The target leads nowhere: nobody answers there. Answered by a `target` that is sure. */
  | { readonly type: 'retarget' }
  /** A way leads through an endpoint: asks for the address of a tunnel. */
  | { readonly type: 'tunnel' }
  /**
   * The key exchange reply that is held: K_S and the host's signature over the exchange hash, base64; `host` is
   * where this connection runs to, which has to be one of the target's ways still.
   */
  | { readonly type: 'seen'; readonly hostKey: string; readonly signature: string; readonly host: string }
  /** What the person said to a `question`. */
  | { readonly type: 'answer'; readonly answer: Answer }
  /** What they said to a `secret-question`; see `encodeSecret`. */
  | { readonly type: 'secret'; readonly answer: SecretAnswer }
  /** The client has sent its NEWKEYS; what follows is held until `go`. */
  | { readonly type: 'ready' }
  /**
   * The client went on after it had read what the server encrypted: it accepted the server's signature. Said
   * again when the conversation has become longer than a login that is refused.
   */
  | { readonly type: 'proceeded' }
  /** The connection ended before it could have been authenticated: was our key refused? */
  | { readonly type: 'refused?' }
  | { readonly type: 'status' }
  /** `force`: even where keys would be lost that are nowhere else. */
  | { readonly type: 'stop'; readonly force?: boolean | undefined };

export interface OpenRequest {
  readonly type: 'open';
  readonly version: number;
  readonly vm: string;
  readonly port: number | undefined;
  readonly user: string | undefined;
  readonly profile: string | undefined;
  readonly region: string | undefined;
  /** The caller's AWS settings; see `callerEnvironment`. */
  readonly environment: Readonly<Record<string, string>>;
  /** The socket of the user's own agent, or `none`; undefined where the proxy cannot tell. */
  readonly upstreamAgent: string | undefined;
  /** True where a live connection makes itself known to a new agent: nothing is to be pushed for it. */
  readonly established: boolean;
}

export type AgentReply =
  /**
   * Where to dial. Not sure: it may be another machine's by now, so nothing of what it says goes to the client until
   * the next `target` has come, which is sure. Another `serial`: dial again, even where the host is the same.
   */
  | {
      readonly type: 'target';
      /** The preferred one first; never empty. */
      readonly ways: readonly Way[];
      readonly port: number;
      readonly sure: boolean;
      readonly serial: number;
    }
  /** One of them. That there is no tunnel is not the end where another way may lead to the VM. */
  | {
      readonly type: 'tunnel';
      readonly tunnel: TunnelReply | undefined;
      readonly failure: FailureReply | undefined;
    }
  /** A line for the person, while something takes its time. */
  | { readonly type: 'progress'; readonly line: string }
  /** `notice`: lines for the person about a key that is trusted all the same. */
  | {
      readonly type: 'verdict';
      readonly outcome: 'match' | 'unknown';
      readonly notice: string | undefined;
    }
  | { readonly type: 'question'; readonly question: QuestionText }
  | { readonly type: 'secret-question'; readonly question: SecretQuestion }
  /** `pushMilliseconds`: how long the push took; absent where an earlier one still serves. */
  | { readonly type: 'go'; readonly pushMilliseconds: number | undefined }
  /** `words`: what to tell of it; undefined where neither the VM refused us nor we the client. */
  | { readonly type: 'refused'; readonly words: RefusalWords | undefined }
  | { readonly type: 'status'; readonly status: AgentStatus }
  | { readonly type: 'stopping' }
  /** The agent is older than who asks: it ends at once, and the next one is for all. */
  | { readonly type: 'makes-way' }
  | JobReply
  | FailureReply;

/** `nobody`: there is no one to ask on any channel. */
export type Answer = 'yes' | 'no' | 'timeout' | 'nobody';

/** What is asked, and the full words that mean yes. */
export interface QuestionText {
  readonly framed: string;
  readonly prompt: string;
  readonly accepts: readonly string[];
  readonly seconds: number;
}

/** Asked without an echo. */
export interface SecretQuestion {
  /** One line with its last blank. */
  readonly prompt: string;
  readonly seconds: number;
}

export type SecretAnswer = { readonly secret: Buffer } | 'no' | 'timeout' | 'nobody';

export interface FailureReply {
  readonly type: 'error';
  readonly code: ErrorCode;
  readonly message: string;
  readonly hint: string | undefined;
  readonly unsafe: boolean;
  /** A warning in several lines, to be shown before the error. */
  readonly warning: string | undefined;
}

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
  /** Names of the jobs whose keys it holds. */
  readonly jobs: readonly string[];
  /** Names of the managed keys that were unlocked with a passphrase. */
  readonly unlockedKeys: readonly string[];
  readonly vms: readonly {
    readonly name: string;
    readonly socket: string;
    readonly connections: number;
    readonly key: string | undefined;
    readonly pushSecondsLeft: number | undefined;
  }[];
}

/** The longest line either side accepts, in bytes. */
const lineLimit = 256 * 1024;

export function encodeLine(message: AgentRequest | AgentReply): string {
  return message.type === 'secret' ? encodeSecret(message.answer) : `${JSON.stringify(message)}\n`;
}

/** What was typed goes as base64. */
function encodeSecret(answer: SecretAnswer): string {
  const outcome = typeof answer === 'string' ? answer : 'told';
  const typed = typeof answer === 'string' ? undefined : answer.secret.toString('base64');
  return `${JSON.stringify({ type: 'secret', outcome, secret: typed })}\n`;
}

/** Splits a byte stream into lines, each a JSON object with a `type`; throws on anything else. */
export function lineSplitter(receive: (message: unknown) => void): (chunk: Buffer) => void {
  let pieces: Buffer[] = [];
  let held = 0;
  return (chunk) => {
    let rest = chunk;
    for (let end = rest.indexOf(10); end >= 0; end = rest.indexOf(10)) {
      const line = Buffer.concat([...pieces, rest.subarray(0, end)]);
      pieces = [];
      held = 0;
      rest = rest.subarray(end + 1);
      if (line.length > lineLimit) throw malformed('a line is too long');
      receive(JSON.parse(line.toString('utf8')));
      // It may have been a passphrase.
      line.fill(0);
    }
    if (rest.length === 0) return;
    held += rest.length;
    if (held > lineLimit) throw malformed('a line is too long');
    pieces.push(Buffer.from(rest));
  };
}

/** What the agent sends is trusted as far as the checks on its socket go; only the frame is checked. */
export function parseReply(message: unknown): AgentReply {
  return record(message) as unknown as AgentReply;
}

/** An error that carries a warning in several lines sends it along. */
export function failureReply(error: unknown): FailureReply {
  const known =
    error instanceof MintError
      ? error
      : new MintError('agent-unavailable', `the agent failed: ${String(error)}`);
  const { code, message, hint, unsafe } = known;
  const { warning } = known as { readonly warning?: string };
  return { type: 'error', code, message, hint, unsafe, warning };
}
