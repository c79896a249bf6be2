/**
 * Writes and reads the messages of protocol.ts: one JSON object a line. The agent trusts nothing in a request; a proxy
 * has checked the agent's socket, and so trusts its replies.
 */
import type { Socket } from 'node:net';
import type { Credentials, Source } from '../../aws/requests.ts';
import { type ErrorCode, MintError } from '../../errors.ts';
import type { AgentReply, AgentRequest, Answer, JobRequest, SecretAnswer } from './protocol.ts';

/** One end of a control connection, as messages: it receives those of type `In`. */
export class MessageStream<In extends AgentRequest | AgentReply> {
  readonly #socket: Socket;
  #isClosed = false;

  /**
   * @param parse `parseRequest` or `parseReply`
   * @param received called with each message
   * @param broken called when the other side breaks the format, or `received` throws; nothing is received after it
   */
  constructor(
    socket: Socket,
    parse: (line: unknown) => In,
    received: (message: In) => void,
    broken: () => void,
  ) {
    this.#socket = socket;
    const split = lineSplitter((line) => {
      if (!this.#isClosed) received(parse(line));
    });
    const read = (chunk: Buffer) => {
      try {
        split(chunk);
        // The chunk may hold a passphrase.
        chunk.fill(0);
      } catch {
        socket.off('data', read);
        broken();
      }
    };
    socket.on('data', read);
  }

  /** Sends a message, unless the connection has ended. */
  send(message: AgentRequest | AgentReply): void {
    if (this.#socket.writable) this.#socket.write(encodeLine(message));
  }

  /** Ends the connection. Nothing is received after that. */
  close(): void {
    this.#isClosed = true;
    this.#socket.end();
  }

  /** Whether this side has ended the connection. */
  get isClosed(): boolean {
    return this.#isClosed;
  }
}

/**
 * Names that versions up to 3 used. A proxy of such a version keeps running while its session lasts and reports the
 * session to a newer agent; an agent of such a version replies `makes-way` to a newer program.
 */
const formerNames: ReadonlyMap<unknown, string> = new Map([
  ['seen', 'check-host-key'],
  ['proceeded', 'client-accepted-host'],
  ['refused?', 'explain-refusal'],
  ['makes-way', 'superseded'],
]);

/** The longest line either side accepts, in bytes. */
const lineLimit = 256 * 1024;

/** @returns the message as one line of JSON, with its newline */
export function encodeLine(message: AgentRequest | AgentReply): string {
  return message.type === 'secret' ? encodeSecret(message.answer) : `${JSON.stringify(message)}\n`;
}

/** Encodes what the user typed as base64. */
function encodeSecret(answer: SecretAnswer): string {
  const outcome = typeof answer === 'string' ? answer : 'told';
  const typed = typeof answer === 'string' ? undefined : answer.secret.toString('base64');
  return `${JSON.stringify({ type: 'secret', outcome, secret: typed })}\n`;
}

/**
 * Splits a byte stream into lines and parses each as JSON.
 * @param receive called with each parsed line
 * @returns a function that takes the next chunk
 * @throws MintError `agent-unavailable` for a line that is too long; SyntaxError for one that is not JSON
 */
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
      // The line may hold a passphrase.
      line.fill(0);
    }
    if (rest.length === 0) return;
    held += rest.length;
    if (held > lineLimit) throw malformed('a line is too long');
    pieces.push(Buffer.from(rest));
  };
}

/**
 * Takes a reply of the agent. The checks on its socket have shown that the agent runs as this user, so only the frame
 * is checked.
 * @throws MintError `agent-unavailable` if the message is not an object
 */
export function parseReply(message: unknown): AgentReply {
  const fields = record(message);
  const former = formerNames.get(fields['type']);
  return (former === undefined ? fields : { ...fields, type: former }) as unknown as AgentReply;
}

/** Session tokens are some 2,000 characters long; AWS documents no limit. */
const maxKeyCharacters = 32_768;
/** The longest base64 text of a secret that the user typed. */
const maxSecretCharacters = 4096;

/**
 * @param message one parsed line of a client
 * @returns the request, with only the fields that its type has
 * @throws MintError `agent-unavailable` if it is malformed
 */
export function parseRequest(message: unknown): AgentRequest {
  const fields = record(message);
  const type = formerNames.get(fields['type']) ?? fields['type'];
  switch (type) {
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
        session: optional(fields, 'session', text),
        upstreamAgent: optional(fields, 'upstreamAgent', text),
        byName: fields['byName'] === true,
        established: fields['established'] === true,
      };
    case 'check-host-key':
      return {
        type: 'check-host-key',
        hostKey: text(fields, 'hostKey'),
        signature: text(fields, 'signature'),
        host: text(fields, 'host'),
      };
    case 'answer':
      return { type: 'answer', answer: answer(fields) };
    case 'secret':
      return { type: 'secret', answer: secretAnswer(fields) };
    case 'credentials-ended':
    case 'credentials-begin':
      return { type, id: text(fields, 'id') };
    case 'credentials-progress':
      return { type, line: text(fields, 'line') };
    case 'credentials':
      return { type, ...resolvedCredentials(fields) };
    case 'share-credentials':
      return {
        type,
        credentials: credentials(fields),
        profile: optional(fields, 'profile', text),
        stamp: text(fields, 'stamp'),
        environment: textRecord(fields['environment']),
        session: optional(fields, 'session', text),
      };
    case 'retarget':
    case 'tunnel':
    case 'await-push':
    case 'client-accepted-host':
    case 'explain-refusal':
    case 'prepare-refusal':
    case 'status':
      return { type };
    case 'stop':
      return { type: 'stop', force: fields['force'] === true };
    default: {
      const job = parseJobRequest(fields);
      if (job === undefined) throw malformed('an unknown request');
      return job;
    }
  }
}

/** Anything but a known word counts as no. */
function answer(fields: Fields): Answer {
  const said = fields['answer'];
  return said === 'yes' || said === 'timeout' || said === 'cannot-ask' ? said : 'no';
}

const sourceKinds: ReadonlySet<unknown> = new Set<Source['kind']>([
  'environment',
  'role',
  'web-identity',
  'sso',
  'credentials-file',
  'login',
  'process',
  'config-file',
  'container',
  'instance',
]);

/** Reads the result of `mint-ssh credentials`. */
function resolvedCredentials(
  fields: Fields,
): Pick<Extract<AgentRequest, { type: 'credentials' }>, 'credentials' | 'failure'> {
  if (fields['failure'] !== undefined) {
    const failure = record(fields['failure']);
    const code = text(failure, 'code');
    if (!/^[a-z-]{1,40}$/.test(code)) throw malformed('code is not an error code');
    return {
      credentials: undefined,
      failure: {
        type: 'error',
        code: code as ErrorCode,
        message: text(failure, 'message'),
        hint: optional(failure, 'hint', text),
        unsafe: failure['unsafe'] === true,
        warning: undefined,
      },
    };
  }
  return { failure: undefined, credentials: credentials(fields) };
}

function credentials(fields: Fields): Credentials {
  const given = record(fields['credentials']);
  const source = record(given['source']);
  if (!sourceKinds.has(source['kind'])) throw malformed('an unknown source of credentials');
  return {
    accessKeyId: key(given, 'accessKeyId'),
    secretAccessKey: key(given, 'secretAccessKey'),
    sessionToken: optional(given, 'sessionToken', key),
    accountId: optional(given, 'accountId', text),
    expiresAt: optional(given, 'expiresAt', number),
    source: {
      kind: source['kind'] as Source['kind'],
      profile: optional(source, 'profile', text),
      runsProcess: source['runsProcess'] === true,
    },
  };
}

/** Reads a part of an access key; it is never quoted in a message. */
function key(fields: Fields, name: string): string {
  const value = text(fields, name);
  if (value === '' || value.length > maxKeyCharacters || /[^\x21-\x7e]/.test(value))
    throw malformed(`${name} cannot be a part of an access key`);
  return value;
}

/** Reads the answer to a `secret-question`. */
function secretAnswer(fields: Fields): SecretAnswer {
  const outcome = fields['outcome'];
  if (outcome === 'told') return { secret: secret(fields, 'secret') };
  return outcome === 'timeout' || outcome === 'cannot-ask' ? outcome : 'no';
}

/**
 * @returns undefined for a request that is not about jobs
 * @throws MintError `agent-unavailable` for a malformed one
 */
function parseJobRequest(fields: Fields): JobRequest | undefined {
  const version = () => number(fields, 'version');
  const name = () => text(fields, 'name');
  switch (fields['type']) {
    case 'job-begin':
      return {
        type: 'job-begin',
        version: version(),
        name: name(),
        user: text(fields, 'user'),
        hostKey: optional(fields, 'hostKey', text),
      };
    case 'job-set':
      return {
        type: 'job-set',
        version: version(),
        name: name(),
        host: text(fields, 'host'),
        port: optional(fields, 'port', portNumber),
      };
    case 'job-end':
      return { type: 'job-end', version: version(), name: name() };
    case 'job-list':
      return { type: 'job-list', version: version() };
    default:
      return undefined;
  }
}

// Readers of one field each. They throw MintError `agent-unavailable` on any other value, which they do not quote.

function text(fields: Fields, name: string): string {
  const value = fields[name];
  if (typeof value !== 'string') throw malformed(`${name} is not a string`);
  return value;
}

function number(fields: Fields, name: string): number {
  const value = fields[name];
  if (typeof value !== 'number' || !Number.isFinite(value)) throw malformed(`${name} is not a number`);
  return value;
}

function portNumber(fields: Fields, name: string): number {
  const value = number(fields, name);
  if (!Number.isInteger(value) || value < 1 || value > 65_535)
    throw malformed(`${name} is not a port number`);
  return value;
}

function secret(fields: Fields, name: string): Buffer {
  const value = text(fields, name);
  if (value.length > maxSecretCharacters) throw malformed(`${name} is too long`);
  return Buffer.from(value, 'base64');
}

function optional<T>(fields: Fields, name: string, read: (fields: Fields, name: string) => T): T | undefined {
  return fields[name] === undefined ? undefined : read(fields, name);
}

function textRecord(value: unknown): Record<string, string> {
  const fields = record(value);
  // The message does not quote the names: the client chose them.
  if (Object.values(fields).some((each) => typeof each !== 'string'))
    throw malformed('a variable is not a string');
  return fields as Record<string, string>;
}

/** The fields of a message. */
type Fields = Readonly<Record<string, unknown>>;

/** @throws MintError `agent-unavailable` if the value is not an object */
function record(value: unknown): Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw malformed('not an object');
  return value as Fields;
}

/** @param what is wrong, without any text of the message itself */
function malformed(what: string): MintError {
  return new MintError('agent-unavailable', `malformed message on the control socket: ${what}`);
}
