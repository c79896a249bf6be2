/** The two stores of leases: files for one machine, a DynamoDB table for any number of machines. */
import { randomUUID } from 'node:crypto';
import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { TableCall, TableReply } from '../aws/requests.ts';
import { printable } from '../cli/terminal.ts';
import { MintError } from '../errors.ts';
import { ensureClosedDirectory, ioFailed, quoted, readPrivateFile, writeAtomic } from '../platform/files.ts';
import { withLock } from '../platform/lock.ts';
import type { Paths } from '../platform/paths.ts';
import {
  type Change,
  formatLeases,
  isProjectName,
  type LeaseStore,
  type ProjectLeases,
  parseLeases,
  unreadableLeases,
} from './leases.ts';

/** Access to a DynamoDB table. */
export interface LeaseTable {
  readonly name: string;
  /** @throws MintError `aws-…`, `bad-settings` */
  readonly send: (call: TableCall) => Promise<TableReply>;
}

/**
 * @param text the value of `--leases`: undefined, or `dynamodb:TABLE`
 * @returns the name of the table; undefined for files
 * @throws MintError `usage`
 */
export function parseTableName(text: string | undefined): string | undefined {
  if (text === undefined) return undefined;
  const [, name] = /^dynamodb:([a-zA-Z0-9_.-]{3,255})$/.exec(text) ?? [];
  if (name !== undefined) return name;
  throw new MintError('usage', `"${printable(text.slice(0, 60))}" is not a lease store`, {
    hint: '--leases dynamodb:TABLE; without it, leases are files below the configuration directory',
  });
}

/** The maximum size of a record: 100 leases of 700 bytes. DynamoDB stores up to 400 kB. */
const maxRecordBytes = 400_000;
const lockMs = 10_000;
/** The maximum number of projects. */
const maxProjects = 10_000;

/** Leases in `leases/PROJECT.json` below the configuration directory, with one lock for all. */
export class FileLeases implements LeaseStore {
  readonly #directory: string;

  constructor(paths: Pick<Paths, 'dir'>) {
    this.#directory = join(paths.dir, 'leases');
  }

  async read(project: string): Promise<ProjectLeases> {
    return this.#locked(() => this.#read(project) ?? raise(unreadableLeases(project)));
  }

  async update<T>(project: string, change: Change<T>): Promise<T> {
    return this.#locked(() => {
      const found = this.#read(project) ?? raise(unreadableLeases(project));
      const { leases, result } = change(found);
      if (leases !== undefined) this.#write({ ...found, leases });
      return result;
    });
  }

  async readAll(): Promise<readonly ProjectLeases[]> {
    return this.#locked(() =>
      readdirSync(this.#directory)
        .filter((name) => name.endsWith('.json'))
        .slice(0, maxProjects)
        .map((name) => this.#readable(name)),
    );
  }

  #readable(name: string): ProjectLeases {
    const project = name.slice(0, -'.json'.length);
    const file = `the file ${quoted(join(this.#directory, name))}`;
    try {
      const found = isProjectName(project) ? this.#read(project) : undefined;
      return found ?? { project: printable(project), leases: [], unreadable: [file] };
    } catch (error) {
      if (!(error instanceof MintError)) throw error;
      return { project, leases: [], unreadable: [error.message] };
    }
  }

  /** @returns undefined if the file is not a valid record */
  #read(project: string): ProjectLeases | undefined {
    const bytes = readPrivateFile(this.#file(project), { maxBytes: maxRecordBytes });
    if (bytes === undefined) return { project, leases: [], unreadable: [] };
    return parseLeases(project, bytes.toString('utf8'));
  }

  #write(record: ProjectLeases): void {
    const path = this.#file(record.project);
    if (record.leases.length + record.unreadable.length > 0) {
      writeAtomic(path, `${formatLeases(record)}\n`, { mode: 0o600 });
      return;
    }
    try {
      rmSync(path, { force: true });
    } catch (error) {
      throw ioFailed('remove', path, error);
    }
  }

  #locked<T>(action: () => T): T {
    ensureClosedDirectory(this.#directory);
    return withLock(join(this.#directory, '.lock'), lockMs, action);
  }

  #file(project: string): string {
    return join(this.#directory, `${project}.json`);
  }
}

/** How often a change is retried if others change the same record. */
const maxAttempts = 30;
/** The maximum number of pages (of 1 MB each) of a scan. A larger table holds other data. */
const maxPages = 50;
const keyPrefix = 'leases#';

type Item = Readonly<Record<string, { readonly S?: string }>>;

/**
 * Leases in a DynamoDB table, with one item for each project: `key` is `leases#PROJECT`, `record` is the text, and
 * `revision` is a word that every write changes. DynamoDB refuses a write if the revision has changed since the read.
 */
export class DynamoLeases implements LeaseStore {
  readonly #table: LeaseTable;

  constructor(table: LeaseTable) {
    this.#table = table;
  }

  async read(project: string): Promise<ProjectLeases> {
    return (await this.#read(project)).found;
  }

  async update<T>(project: string, change: Change<T>): Promise<T> {
    const next = randomUUID();
    let result: { readonly value: T } | undefined;
    for (let attempt = 1; attempt <= maxAttempts; attempt += 1) {
      const { found, revision } = await this.#read(project);
      // The answer to the first write was lost, and the SDK repeated the request.
      if (result !== undefined && revision === next) return result.value;
      const changed = change(found);
      if (changed.leases === undefined) return changed.result;
      result = { value: changed.result };
      const record = formatLeases({ ...found, leases: changed.leases });
      const { outcome } = await this.#send('PutItem', {
        Item: { key: { S: `${keyPrefix}${project}` }, record: { S: record }, revision: { S: next } },
        ...condition(revision),
      });
      if (outcome === 'done') return changed.result;
      await sleep(Math.random() * 50 * attempt);
    }
    throw new MintError(
      'io-failed',
      `the leases of ${project} kept changing; giving up after ${maxAttempts} attempts`,
      {
        hint: 'run the command again',
      },
    );
  }

  async readAll(): Promise<readonly ProjectLeases[]> {
    const records: ProjectLeases[] = [];
    let from: unknown;
    for (let page = 0; page < maxPages; page += 1) {
      const { output } = await this.#send('Scan', {
        ConsistentRead: true,
        FilterExpression: 'begins_with(#key, :prefix)',
        ExpressionAttributeNames: { '#key': 'key' },
        ExpressionAttributeValues: { ':prefix': { S: keyPrefix } },
        ...(from === undefined ? {} : { ExclusiveStartKey: from }),
      });
      if (!Array.isArray(output['Items'])) throw noAnswer(this.#table.name);
      records.push(...(output['Items'] as readonly Item[]).map(readable));
      from = output['LastEvaluatedKey'];
      if (from === undefined) return records;
    }
    throw new MintError('io-failed', `the table ${this.#table.name} has other data than leases`, {
      hint: 'give leases a table of their own: --leases dynamodb:NAME',
    });
  }

  async #read(
    project: string,
  ): Promise<{ readonly found: ProjectLeases; readonly revision: string | undefined }> {
    const { output } = await this.#send('GetItem', {
      Key: { key: { S: `${keyPrefix}${project}` } },
      ConsistentRead: true,
    });
    const item = output['Item'] as Item | undefined;
    if (item === undefined) return { found: { project, leases: [], unreadable: [] }, revision: undefined };
    const found = parseLeases(project, item['record']?.S ?? '');
    const revision = item['revision']?.S;
    if (found === undefined || revision === undefined) throw unreadableLeases(project);
    return { found, revision };
  }

  #send(operation: TableCall['operation'], input: Readonly<Record<string, unknown>>): Promise<TableReply> {
    return this.#table.send({ table: this.#table.name, operation, input });
  }
}

function condition(revision: string | undefined): Record<string, unknown> {
  if (revision === undefined) {
    return { ConditionExpression: 'attribute_not_exists(#key)', ExpressionAttributeNames: { '#key': 'key' } };
  }
  return {
    ConditionExpression: '#revision = :revision',
    ExpressionAttributeNames: { '#revision': 'revision' },
    ExpressionAttributeValues: { ':revision': { S: revision } },
  };
}

function readable(item: Item): ProjectLeases {
  const key = item['key']?.S ?? '';
  const project = key.slice(keyPrefix.length);
  const found = isProjectName(project) ? parseLeases(project, item['record']?.S ?? '') : undefined;
  return (
    found ?? {
      project: printable(project.slice(0, 80)),
      leases: [],
      unreadable: [`the item ${printable(key.slice(0, 80))}`],
    }
  );
}

/** The error for a service that answers with empty objects, and is not DynamoDB. */
function noAnswer(table: string): MintError {
  return new MintError('aws-unreachable', `the answer for the table ${table} does not come from DynamoDB`, {
    hint: 'check AWS_ENDPOINT_URL_DYNAMODB, if it is set',
  });
}

function raise(error: MintError): never {
  throw error;
}
