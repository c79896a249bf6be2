/** Requests of a client of the control socket. */
import assert from 'node:assert/strict';
import { encodeLine, lineSplitter, parseRequest } from '../../../src/agent/control/messages.ts';
import { MintError } from '../../../src/errors.ts';
import { inPieces } from '../pieces.ts';
import { attempt, Refusal, type Target } from '../target.ts';

const open = {
  type: 'open',
  version: 2,
  vm: 'dev',
  port: 22,
  user: 'ubuntu',
  environment: { AWS_REGION: 'us-east-1', HOME: '/home/me' },
  upstreamAgent: 'none',
  established: false,
};

function split(chunks: readonly Buffer[]): { messages: unknown[]; failure: string | undefined } {
  const messages: unknown[] = [];
  const splitter = lineSplitter((message) => messages.push(message));
  try {
    for (const chunk of chunks) splitter(chunk);
  } catch (error) {
    // The JSON parser refuses a line that is not JSON; the server ends the connection for any error.
    assert.ok(error instanceof MintError || error instanceof SyntaxError, String(error));
    return { messages, failure: error.name };
  }
  return { messages, failure: undefined };
}

export const control: Target = {
  name: 'control',
  seeds: () => [
    Buffer.from(`${JSON.stringify(open)}\n{"type":"status"}\n`),
    Buffer.from(
      '{"type":"check-host-key","hostKey":"AAAA","signature":"AAAA","host":"203.0.113.7"}\n{"type":"await-push"}\n',
    ),
    Buffer.from('{"type":"answer","answer":"yes"}\n{"type":"explain-refusal"}\n{"type":"stop"}\n'),
    Buffer.from('{"type":"retarget"}\n{"type":"client-accepted-host"}\n'),
  ],
  dictionary: [
    ...['{"type":"', '":', ',"', '"}', '\n', '[', ']', '{', '}', 'null', 'true', '1e999', '"__proto__":{}'],
    ...Object.keys(open),
    ...[
      'check-host-key',
      'hostKey',
      'signature',
      'host',
      'answer',
      'timeout',
      'cannot-ask',
      'profile',
      'region',
      'status',
    ],
    ...['job', 'name', 'begin', 'end', 'list', 'set', 'secret', 'force'],
  ],
  longest: 2048,
  run(input) {
    const whole = split([input]);
    const pieces = split(inPieces(input));
    assert.deepEqual(pieces, whole);
    const words = whole.messages.map((message) => {
      const request = attempt(['agent-unavailable'], () => parseRequest(message));
      if (request instanceof Refusal) return request.message.slice(0, 60);
      // An accepted request means the same if it is sent again.
      const again = parseRequest(JSON.parse(encodeLine(request)));
      assert.deepEqual(JSON.parse(encodeLine(again)), JSON.parse(encodeLine(request)));
      return request.type;
    });
    return `${words.slice(0, 2).join(' ')} ${whole.failure ?? ''}`;
  },
};
