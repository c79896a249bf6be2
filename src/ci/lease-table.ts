/** Making the DynamoDB table that leases are kept in. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { TableReply } from '../aws/protocol.ts';
import { MintError } from '../errors.ts';
import type { LeaseTable } from './dynamo-leases.ts';

/** For how long a table may be on its way, in milliseconds. */
const creationTime = 120_000;

export interface TableMade {
  readonly isNew: boolean;
  /** Why DynamoDB will not clean up by itself, where that is so. */
  readonly withoutTtl: string | undefined;
}

/**
 * Makes the table where it is not there, waits until it serves, and has DynamoDB delete old items.
 * @throws MintError `bad-settings` where a table of this name is for something else; and what AWS refuses
 */
export async function makeLeaseTable({ name, send }: LeaseTable): Promise<TableMade> {
  const call = (operation: Parameters<LeaseTable['send']>[0]['operation'], input = {}): Promise<TableReply> =>
    send({ table: name, operation, input });
  const { outcome } = await call('CreateTable', {
    AttributeDefinitions: [{ AttributeName: 'key', AttributeType: 'S' }],
    KeySchema: [{ AttributeName: 'key', KeyType: 'HASH' }],
    BillingMode: 'PAY_PER_REQUEST',
  });
  for (const deadline = performance.now() + creationTime; ; await sleep(500)) {
    const { output } = await call('DescribeTable');
    const { TableStatus, KeySchema } = (output['Table'] ?? {}) as {
      readonly TableStatus?: string;
      readonly KeySchema?: readonly { readonly AttributeName?: string }[];
    };
    if (TableStatus === 'ACTIVE') {
      if (KeySchema?.length === 1 && KeySchema[0]?.AttributeName === 'key') break;
      throw new MintError('bad-settings', `the table ${name} is there already, and not for leases`, {
        hint: 'choose another name: --leases dynamodb:NAME',
      });
    }
    if (performance.now() > deadline) {
      throw new MintError('io-failed', `the table ${name} is not ready after two minutes`, {
        hint: 'run this again in a moment',
      });
    }
  }
  return { isNew: outcome === 'done', withoutTtl: await setTimeToLive(call) };
}

async function setTimeToLive(
  call: (operation: 'DescribeTimeToLive' | 'UpdateTimeToLive', input?: object) => Promise<TableReply>,
): Promise<string | undefined> {
  try {
    const { output } = await call('DescribeTimeToLive');
    const { TimeToLiveStatus } = (output['TimeToLiveDescription'] ?? {}) as {
      readonly TimeToLiveStatus?: string;
    };
    if (TimeToLiveStatus === 'ENABLED' || TimeToLiveStatus === 'ENABLING') return undefined;
    await call('UpdateTimeToLive', {
      TimeToLiveSpecification: { AttributeName: 'ttl', Enabled: true },
    });
    return undefined;
  } catch (error) {
    if (error instanceof MintError) return error.message;
    throw error;
  }
}
