/**
 * Leases in a DynamoDB table, for any number of machines. Two kinds of items: `project#NAME` says who has a project,
 * `lease#ID` is a lease whose VM is not known to be destroyed. What decides is the condition of each write, which
 * looks at the times itself: DynamoDB's own time to live deletes hours late, and only cleans up.
 */
import type { TableCall, TableReply } from '../aws/protocol.ts';
import { MintError } from '../errors.ts';
import { type Holding, holdingOf, type Lease, type OpenLease, parseLease } from './lease.ts';
import type { LeaseStore } from './lease-store.ts';

/** A table, as the caller reaches it. */
export interface LeaseTable {
  readonly name: string;
  readonly send: (call: TableCall) => Promise<TableReply>;
}

/** An item nobody needs any more goes after this time, in seconds; one of a lease that nobody closed, too. */
const keptSeconds = 7 * 24 * 3600;
/** A scan has pages of 1 MB: more than these are no leases of ours. */
const mostPages = 50;

type Item = Readonly<Record<string, { readonly S?: string; readonly N?: string; readonly BOOL?: boolean }>>;

export class DynamoLeases implements LeaseStore {
  readonly #table: LeaseTable;

  constructor(table: LeaseTable) {
    this.#table = table;
  }

  async take(lease: Lease, now: number): Promise<Holding | undefined> {
    const key = { S: `project#${lease.project}` };
    const { id, holder, endsAt, freeAt } = holdingOf(lease);
    const times = { endsAt: number(endsAt), freeAt: number(freeAt), ttl: expiry(freeAt) };
    for (let attempt = 1; ; attempt += 1) {
      const { outcome } = await this.#send('PutItem', {
        Item: { key, lease: { S: id }, holder: { S: holder }, ...times },
        // Its own: an answer that was lost made the SDK send the same request once more.
        ConditionExpression: 'attribute_not_exists(#key) OR #freeAt <= :now OR #lease = :lease',
        ExpressionAttributeNames: { '#key': 'key', '#freeAt': 'freeAt', '#lease': 'lease' },
        ExpressionAttributeValues: { ':now': number(now), ':lease': { S: id } },
      });
      if (outcome === 'done') break;
      const { output } = await this.#send('GetItem', { Key: { key }, ConsistentRead: true });
      const held = parseHolding(output['Item'] as Item | undefined);
      // Given back between the two: it may be ours now.
      if (held !== undefined || attempt >= 3) return held ?? unknownHolding;
    }
    await this.#send('PutItem', {
      Item: {
        key: { S: `lease#${id}` },
        data: { S: JSON.stringify(lease) },
        ttl: expiry(freeAt),
      },
    });
    return undefined;
  }

  async list(): Promise<readonly OpenLease[]> {
    const found: OpenLease[] = [];
    let from: unknown;
    for (let page = 0; page < mostPages; page += 1) {
      const { output } = await this.#send('Scan', {
        ConsistentRead: true,
        FilterExpression: 'begins_with(#key, :lease)',
        ExpressionAttributeNames: { '#key': 'key' },
        ExpressionAttributeValues: { ':lease': { S: 'lease#' } },
        ...(from === undefined ? {} : { ExclusiveStartKey: from }),
      });
      const items = (output['Items'] ?? []) as readonly Item[];
      found.push(...items.flatMap((item) => parseOpenLease(item) ?? []));
      from = output['LastEvaluatedKey'];
      if (from === undefined) return found;
    }
    throw new MintError('io-failed', `the table ${this.#table.name} holds more than leases`, {
      hint: 'give leases a table of their own: mint-ssh debug leases init --leases dynamodb:NAME',
    });
  }

  async find(id: string): Promise<OpenLease | undefined> {
    const { output } = await this.#send('GetItem', {
      Key: { key: { S: `lease#${id}` } },
      ConsistentRead: true,
    });
    const item = output['Item'] as Item | undefined;
    return item && parseOpenLease(item);
  }

  async askToEnd(id: string): Promise<boolean> {
    return await this.#update(id, {
      UpdateExpression: 'SET #isToEnd = :true',
      ConditionExpression: 'attribute_exists(#key)',
      ExpressionAttributeNames: { '#key': 'key', '#isToEnd': 'isToEnd' },
      ExpressionAttributeValues: { ':true': { BOOL: true } },
    });
  }

  async beginEnd(id: string, by: string, now: number, until: number): Promise<boolean> {
    return await this.#update(id, {
      UpdateExpression: 'SET #until = :until, #by = :by',
      ConditionExpression:
        'attribute_exists(#key) AND (attribute_not_exists(#until) OR #until <= :now OR #by = :by)',
      ExpressionAttributeNames: { '#key': 'key', '#until': 'endingUntil', '#by': 'endingBy' },
      ExpressionAttributeValues: { ':until': number(until), ':now': number(now), ':by': { S: by } },
    });
  }

  async close({ id, project }: Pick<Lease, 'id' | 'project'>): Promise<void> {
    // Its time may have come meanwhile, and the project be another one's: refused then, which is right.
    await this.#send('DeleteItem', {
      Key: { key: { S: `project#${project}` } },
      ConditionExpression: '#lease = :lease',
      ExpressionAttributeNames: { '#lease': 'lease' },
      ExpressionAttributeValues: { ':lease': { S: id } },
    });
    await this.#send('DeleteItem', { Key: { key: { S: `lease#${id}` } } });
  }

  async #update(id: string, input: Readonly<Record<string, unknown>>): Promise<boolean> {
    const { outcome } = await this.#send('UpdateItem', { Key: { key: { S: `lease#${id}` } }, ...input });
    return outcome === 'done';
  }

  #send(operation: TableCall['operation'], input: Readonly<Record<string, unknown>>): Promise<TableReply> {
    return this.#table.send({ table: this.#table.name, operation, input });
  }
}

/** It was refused for someone who had given it back by the time it was asked who. */
const unknownHolding: Holding = { id: '', holder: 'another orchestrator', endsAt: 0, freeAt: 0 };

function number(value: number): { readonly N: string } {
  return { N: String(value) };
}

/** Of an item, in seconds since 1970, as DynamoDB's time to live wants it. */
function expiry(freeAt: number): { readonly N: string } {
  return number(Math.ceil(freeAt / 1000) + keptSeconds);
}

function parseHolding(item: Item | undefined): Holding | undefined {
  if (item === undefined) return undefined;
  const { lease, holder, endsAt, freeAt } = item;
  const [id = '', who = ''] = [lease?.S, holder?.S];
  return { id, holder: who.slice(0, 200), endsAt: Number(endsAt?.N ?? 0), freeAt: Number(freeAt?.N ?? 0) };
}

function parseOpenLease(item: Item): OpenLease | undefined {
  const { key, data, isToEnd, endingUntil } = item;
  const lease = parseLease(json(data?.S ?? ''));
  if (lease === undefined || key?.S !== `lease#${lease.id}`) return undefined;
  const until = endingUntil?.N;
  return {
    ...lease,
    isToEnd: isToEnd?.BOOL === true,
    endingUntil: until === undefined ? undefined : Number(until),
  };
}

function json(text: string): unknown {
  try {
    return JSON.parse(text.slice(0, 16_384));
  } catch {
    return undefined;
  }
}
