/**
 * What a client of `run/control.sock` asks for, taken from what it sent: of that nothing is believed. The proxy has no
 * part in this; what the agent answers is read by `parseReply`.
 */
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
} from './control-fields.ts';
import type { AgentRequest, Answer, SecretAnswer } from './control-protocol.ts';
import { parseJobRequest } from './job-protocol.ts';

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
    case 'secret':
      return { type: 'secret', answer: secretAnswer(fields) };
    case 'retarget':
    case 'tunnel':
    case 'ready':
    case 'proceeded':
    case 'refused?':
    case 'status':
      return { type: fields['type'] };
    case 'stop':
      return { type: 'stop', force: fields['force'] === true };
    default: {
      const job = parseJobRequest(fields);
      if (job === undefined) throw malformed('an unknown request');
      return job;
    }
  }
}

/** Whatever is not a clear yes is none. */
function answer(fields: Fields): Answer {
  const said = fields['answer'];
  return said === 'yes' || said === 'timeout' || said === 'nobody' ? said : 'no';
}

/** The same for what was asked without an echo. */
function secretAnswer(fields: Fields): SecretAnswer {
  const outcome = fields['outcome'];
  if (outcome === 'told') return { secret: secret(fields, 'secret') };
  return outcome === 'timeout' || outcome === 'nobody' ? outcome : 'no';
}
