/** DynamoDB for the tests: dynalite behind a proxy that can lose an answer. */
import { createServer, request as forward, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  CreateTableCommand,
  DescribeTableCommand,
  DynamoDBClient,
  PutItemCommand,
  ScanCommand,
} from '@aws-sdk/client-dynamodb';
import dynalite from 'dynalite';

export interface Dynamo {
  readonly endpoint: string;
  /** Every operation so far. */
  readonly operations: readonly string[];
  /** Makes the table as in docs/ci.md. */
  makeTable(name: string): Promise<void>;
  /** Every item of a table. */
  items(name: string): Promise<readonly Record<string, { readonly S?: string }>[]>;
  /** Writes an item, as anyone with access to the table can. */
  put(name: string, item: Record<string, { readonly S: string }>): Promise<void>;
  /** Carries out the next such operation, and breaks the connection instead of answering. */
  loseAnswerTo(operation: string): void;
  close(): Promise<void>;
}

export async function startDynamo(): Promise<Dynamo> {
  const behind = dynalite({ createTableMs: 50 });
  const port = await listen(behind);
  const operations: string[] = [];
  const lost: string[] = [];
  const front = createServer((message, response) => {
    const answer = async () => {
      const body = await read(message);
      const operation = /^DynamoDB_20120810\.(\w+)$/.exec(String(message.headers['x-amz-target']))?.[1] ?? '';
      operations.push(operation);
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
  const client = new DynamoDBClient({
    endpoint: `http://127.0.0.1:${at}`,
    region: 'us-east-1',
    credentials: { accessKeyId: 'AKIADEMODEMODEMODEMO', secretAccessKey: 'secret' },
  });
  return {
    async makeTable(TableName) {
      await client.send(
        new CreateTableCommand({
          TableName,
          AttributeDefinitions: [{ AttributeName: 'key', AttributeType: 'S' }],
          KeySchema: [{ AttributeName: 'key', KeyType: 'HASH' }],
          BillingMode: 'PAY_PER_REQUEST',
        }),
      );
      for (;;) {
        const { Table } = await client.send(new DescribeTableCommand({ TableName }));
        if (Table?.TableStatus === 'ACTIVE') return;
        await sleep(20);
      }
    },
    async items(TableName) {
      const { Items = [] } = await client.send(new ScanCommand({ TableName }));
      return Items as Record<string, { readonly S?: string }>[];
    },
    async put(TableName, Item) {
      await client.send(new PutItemCommand({ TableName, Item }));
    },
    endpoint: `http://127.0.0.1:${at}`,
    operations,
    loseAnswerTo: (operation) => void lost.push(operation),
    async close() {
      client.destroy();
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
