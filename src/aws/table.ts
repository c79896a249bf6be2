/** DynamoDB: one call to one table. What the calls mean is for whoever keeps something there. */
import { command } from '../cli/shell-command.ts';
import { MintError } from '../errors.ts';
import type { DynamoDBClient } from './dynamodb-sdk.ts';
import type { TableReply, TableRequest } from './protocol.ts';
import { type Call, prepare, rememberEndpoint, type Session } from './session.ts';

const clients = new WeakMap<Call['warm'], DynamoDBClient>();

type TableCommand = new (
  input: object,
) => { readonly middlewareStack: { readonly add: (...middleware: readonly unknown[]) => void } };

/** Throws a MintError, in `milliseconds` at the latest; that a condition did not hold is a reply. */
export async function table(
  session: Session,
  request: TableRequest,
  milliseconds: number,
): Promise<TableReply> {
  return await session.call(`dynamodb:${request.operation}`, request, milliseconds, async (call) => {
    const sdk = await import('./dynamodb-sdk.ts');
    await prepare(call);
    const { region, credentials } = call.warm.client.config;
    const client =
      clients.get(call.warm) ?? new sdk.DynamoDBClient({ ...call.warm.options, region, credentials });
    clients.set(call.warm, client);
    // Nine commands have nine types: what each is sent is decided where the request is made.
    const Command = sdk[`${request.operation}Command`] as unknown as TableCommand;
    const command = new Command({ TableName: request.table, ...request.input });
    command.middlewareStack.add(...rememberEndpoint(call.attempt));
    try {
      const output = await client.send(command as never, { abortSignal: call.signal });
      return { outcome: 'done', output: { ...Object(output) } };
    } catch (error) {
      return replyTo(error, request, call.attempt.region ?? '');
    }
  });
}

function replyTo(error: unknown, { table: name }: TableRequest, region: string): TableReply {
  const kind = error instanceof Error ? error.name : '';
  if (kind === 'ConditionalCheckFailedException') return { outcome: 'refused', output: {} };
  if (kind !== 'ResourceNotFoundException') throw error;
  throw new MintError('bad-settings', `there is no DynamoDB table ${name} in ${region}`, {
    hint:
      command`make it once: aws dynamodb create-table --region ${region} --table-name ${name} --billing-mode ` +
      'PAY_PER_REQUEST --attribute-definitions AttributeName=key,AttributeType=S --key-schema ' +
      'AttributeName=key,KeyType=HASH',
    cause: error,
  });
}
