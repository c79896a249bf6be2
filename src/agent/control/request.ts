/** Parses the requests of clients on `run/control.sock`. The agent trusts nothing in them. */

import type { Source } from '../../aws/requests.ts';
import type { ErrorCode } from '../../errors.ts';
import {
  type AgentRequest,
  type Answer,
  type Fields,
  formerNames,
  type JobRequest,
  malformed,
  record,
  type SecretAnswer,
} from './protocol.ts';

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
  return said === 'yes' || said === 'timeout' || said === 'nobody' ? said : 'no';
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
  const given = record(fields['credentials']);
  const source = record(given['source']);
  if (!sourceKinds.has(source['kind'])) throw malformed('an unknown source of credentials');
  return {
    failure: undefined,
    credentials: {
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
  return outcome === 'timeout' || outcome === 'nobody' ? outcome : 'no';
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
