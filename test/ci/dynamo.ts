/** DynamoDB for the tests: dynalite, and in front of it the two operations about time to live that it lacks. */
import { createServer, request as forward, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import dynalite from 'dynalite';

export interface Dynamo {
  readonly endpoint: string;
  /** By table: the attribute that DynamoDB deletes by. */
  readonly timeToLive: ReadonlyMap<string, string>;
  /** Every operation so far. */
  readonly operations: readonly string[];
  /** Answers the next such operation, which is carried out, with nothing: the connection breaks. */
  loseAnswerTo(operation: string): void;
  close(): Promise<void>;
}

export async function startDynamo(): Promise<Dynamo> {
  const behind = dynalite({ createTableMs: 50 });
  const port = await listen(behind);
  const timeToLive = new Map<string, string>();
  const operations: string[] = [];
  const lost: string[] = [];
  const front = createServer((message, response) => {
    const answer = async () => {
      const body = await read(message);
      const operation = /^DynamoDB_20120810\.(\w+)$/.exec(String(message.headers['x-amz-target']))?.[1] ?? '';
      operations.push(operation);
      const input = JSON.parse(body.toString()) as Record<string, unknown>;
      const table = String(input['TableName']);
      if (operation === 'UpdateTimeToLive') {
        const { AttributeName } = input['TimeToLiveSpecification'] as { readonly AttributeName: string };
        timeToLive.set(table, AttributeName);
        response.setHeader('content-type', 'application/x-amz-json-1.0');
        response.end(JSON.stringify({ TimeToLiveSpecification: input['TimeToLiveSpecification'] }));
        return;
      }
      if (operation === 'DescribeTimeToLive') {
        const TimeToLiveStatus = timeToLive.has(table) ? 'ENABLED' : 'DISABLED';
        response.setHeader('content-type', 'application/x-amz-json-1.0');
        response.end(JSON.stringify({ TimeToLiveDescription: { TimeToLiveStatus } }));
        return;
      }
      const { method, url, headers } = message;
      const onward = forward({ host: '127.0.0.1', port, method, path: url, headers }, (reply) => {
        const at = lost.indexOf(operation);
        if (at >= 0) {
          lost.splice(at, 1);
          reply.resume();
          reply.on('end', () => response.destroy());
          return;
        }
        response.writeHead(reply.statusCode ?? 500, reply.headers);
        reply.pipe(response);
      });
      onward.on('error', () => response.destroy());
      onward.end(body);
    };
    answer().catch(() => response.destroy());
  });
  const at = await listen(front);
  return {
    endpoint: `http://127.0.0.1:${at}`,
    timeToLive,
    operations,
    loseAnswerTo: (operation) => void lost.push(operation),
    async close() {
      const closed = [front, behind].map(
        (server) => new Promise<void>((resolve) => server.close(() => resolve())),
      );
      for (const server of [front, behind]) server.closeAllConnections();
      await Promise.all(closed);
    },
  };
}

async function listen(server: Server): Promise<number> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', resolve);
  });
  return (server.address() as AddressInfo).port;
}

async function read(message: IncomingMessage): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for await (const piece of message as AsyncIterable<Buffer>) pieces.push(piece);
  return Buffer.concat(pieces);
}
