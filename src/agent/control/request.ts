/** Parses the requests of clients on `run/control.sock`. The agent trusts nothing in them. */

import type { Source } from '../../aws/requests.ts';
import type { ErrorCode } from '../../errors.ts';
import {
  type Fields,
  malformed,
  number,
  optional,
  portNumber,
  record,
  secret,
  text,
  textRecord,
} from './fields.ts';
import { parseJobRequest } from './job-messages.ts';
import { type AgentRequest, type Answer, formerNames, type SecretAnswer } from './protocol.ts';

/** Session tokens are some 2,000 characters long; AWS names no limit. */
const maxKeyCharacters = 32_768;

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
