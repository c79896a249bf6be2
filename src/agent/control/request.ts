/** Parses the requests of clients on `run/control.sock`. The agent trusts nothing in them. */

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
    case 'retarget':
    case 'tunnel':
    case 'await-push':
    case 'client-accepted-host':
    case 'explain-refusal':
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

/** Reads the answer to a `secret-question`. */
function secretAnswer(fields: Fields): SecretAnswer {
  const outcome = fields['outcome'];
  if (outcome === 'told') return { secret: secret(fields, 'secret') };
  return outcome === 'timeout' || outcome === 'nobody' ? outcome : 'no';
}
