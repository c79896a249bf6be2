/**
 * What the proxy and the agent say to each other over `run/control.sock`: one JSON object a line.
 *
 * A proxy opens one connection and keeps it for its life; the connection *is* the agent's knowledge that
 * the proxy lives. `open` → `target`, and another `target` where the first was not sure; `seen` → `verdict`; `ready` → `go`; an `error` may come at any time
 * and is final. `status` and `stop` are for people.
 */
import { type ErrorCode, MintError } from '../errors.ts';

/** Raised whenever a message changes its meaning; an agent of another version is not talked to. */
export const protocolVersion = 2;

export type AgentRequest =
  | OpenRequest
  /** The target leads nowhere: nobody answers there. Answered by a `target` that is sure. */
  | { readonly type: 'retarget' }
  /**
   * The key exchange reply that is held: K_S and the host's signature over the exchange hash, base64; `host` is
   * where this connection runs to, which has to be the target still.
   */
  | { readonly type: 'seen'; readonly hostKey: string; readonly signature: string; readonly host: string }
  /** What the person said to a `question`. */
  | { readonly type: 'answer'; readonly answer: Answer }
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
  | { readonly type: 'stop' };

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
      readonly host: string;
      readonly port: number;
      readonly sure: boolean;
      readonly serial: number;
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
  /** `pushMilliseconds`: how long the push took; absent where an earlier one still serves. */
  | { readonly type: 'go'; readonly pushMilliseconds: number | undefined }
  | { readonly type: 'refused'; readonly listed: boolean; readonly signed: boolean; readonly user: string }
  | { readonly type: 'status'; readonly status: AgentStatus }
  | { readonly type: 'stopping' }
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

export interface FailureReply {
  readonly type: 'error';
  readonly code: ErrorCode;
  readonly message: string;
  readonly hint: string | undefined;
  readonly unsafe: boolean;
  /** A warning in several lines, to be shown before the error. */
  readonly warning: string | undefined;
}

export interface AgentStatus {
  readonly pid: number;
  readonly version: string;
  readonly startedAt: string;
  readonly connections: number;
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
  return `${JSON.stringify(message)}\n`;
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
    }
    if (rest.length === 0) return;
    held += rest.length;
    if (held > lineLimit) throw malformed('a line is too long');
    pieces.push(Buffer.from(rest));
  };
}

/** Checks the shape of what a client of the control socket sent. @throws MintError `agent-unavailable` */
export function parseRequest(message: unknown): AgentRequest {
  const fields = record(message);
  switch (fields['type']) {
    case 'open':
      return {
        type: 'open',
        version: number(fields, 'version'),
        vm: text(fields, 'vm'),
        port: optional(fields, 'port', portNumber),
        user: optional(fields, 'user', text),
        profile: optional(fields, 'profile', text),
        region: optional(fields, 'region', text),
        environment: textRecord(fields['environment']),
        upstreamAgent: optional(fields, 'upstreamAgent', text),
        established: fields['established'] === true,
      };
    case 'seen':
      return {
        type: 'seen',
        hostKey: text(fields, 'hostKey'),
        signature: text(fields, 'signature'),
        host: text(fields, 'host'),
      };
    case 'answer':
      return { type: 'answer', answer: answer(fields) };
    case 'retarget':
    case 'ready':
    case 'proceeded':
    case 'refused?':
    case 'status':
    case 'stop':
      return { type: fields['type'] };
    default:
      throw malformed('an unknown request');
  }
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

function record(value: unknown): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw malformed('not an object');
  return value as Record<string, unknown>;
}

function text(fields: Record<string, unknown>, name: string): string {
  const value = fields[name];
  if (typeof value !== 'string') throw malformed(`${name} is no text`);
  return value;
}

/** Whatever is not a clear yes is none. */
function answer(fields: Record<string, unknown>): Answer {
  const said = fields['answer'];
  return said === 'yes' || said === 'timeout' || said === 'nobody' ? said : 'no';
}

function number(fields: Record<string, unknown>, name: string): number {
  const value = fields[name];
  if (typeof value !== 'number') throw malformed(`${name} is no number`);
  return value;
}

function portNumber(fields: Record<string, unknown>, name: string): number {
  const value = number(fields, name);
  if (!Number.isInteger(value) || value < 1 || value > 65_535) throw malformed(`${name} is no port`);
  return value;
}

function optional<T>(
  fields: Record<string, unknown>,
  name: string,
  read: (fields: Record<string, unknown>, name: string) => T,
): T | undefined {
  return fields[name] === undefined ? undefined : read(fields, name);
}

function textRecord(value: unknown): Record<string, string> {
  const fields = record(value);
  for (const name of Object.keys(fields)) text(fields, name);
  return fields as Record<string, string>;
}

function malformed(what: string): MintError {
  return new MintError('agent-unavailable', `malformed message on the control socket: ${what}`);
}
