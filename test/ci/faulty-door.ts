/** A proxy in front of a service that can fail, as AWS or the network does. */
import { createServer, request as forward, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/**
 * `reset`: the connection is cut. `denied`, `throttled`: AWS's own answers. `slow`: no answer. `empty`: an answer without
 * anything in it, as if no item were there.
 */
export const faults = ['reset', 'denied', 'throttled', 'slow', 'empty'] as const;
export type Fault = (typeof faults)[number];

export interface FaultyDoor {
  readonly endpoint: string;
  /** The fault for every request from now on; undefined passes requests on. */
  fault: Fault | undefined;
  /** How many requests have met a fault. */
  readonly failed: number;
  close(): Promise<void>;
}

const answers = {
  denied: [400, 'com.amazon.coral.service#AccessDeniedException'],
  throttled: [400, 'com.amazonaws.dynamodb.v20120810#ThrottlingException'],
} as const;

export async function startFaultyDoor(service: string): Promise<FaultyDoor> {
  const { hostname, port } = new URL(service);
  let failed = 0;
  const door = { fault: undefined as Fault | undefined };
  const answer = async (message: IncomingMessage, response: ServerResponse): Promise<void> => {
    const pieces: Buffer[] = [];
    for await (const piece of message as AsyncIterable<Buffer>) pieces.push(piece);
    const { fault } = door;
    if (fault !== undefined) failed += 1;
    if (fault === 'reset') return void response.destroy();
    if (fault === 'slow') return;
    if (fault === 'empty') {
      response.writeHead(200, { 'content-type': 'application/x-amz-json-1.0' }).end('{}');
      return;
    }
    if (fault !== undefined) {
      const [status, type] = answers[fault];
      response
        .writeHead(status, { 'content-type': 'application/x-amz-json-1.0' })
        .end(JSON.stringify({ __type: type, message: `${fault} by the test` }));
      return;
    }
    const { method, url, headers } = message;
    const onward = forward({ host: hostname, port, method, path: url, headers }, (reply) => {
      response.writeHead(reply.statusCode ?? 500, reply.headers);
      reply.pipe(response);
    });
    onward.on('error', () => response.destroy());
    onward.end(Buffer.concat(pieces));
  };
  const server = createServer((message, response) => {
    answer(message, response).catch(() => response.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return Object.defineProperty(
    Object.assign(door, {
      endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
      failed: 0,
      close: () =>
        new Promise<void>((resolve) => {
          server.close(() => resolve());
          server.closeAllConnections();
        }),
    }),
    'failed',
    { get: () => failed },
  );
}
