/** The single lease of a project, in both stores: taken once, closed by its holder, or free after its time. */
import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { CallerCredentials } from '../../src/agent/credentials/caller-credentials.ts';
import { Aws } from '../../src/aws/aws.ts';
import { DynamoLeases, FileLeases, type LeaseTable } from '../../src/ci/lease-stores.ts';
import { closeLease, type LeaseStore, requestEnd, takeLease } from '../../src/ci/leases.ts';
import { resolvePaths } from '../../src/platform/paths.ts';
import { type Dynamo, startDynamo } from './dynamo.ts';
import { lease, minute, noon } from './lease.ts';
import { race } from './lease-race.ts';

describe('leases', { timeout: 300_000 }, () => {
  const directory = mkdtempSync('/tmp/ml-');
  const aws = new Aws(new CallerCredentials());
  let dynamo: Dynamo;
  let table: LeaseTable;
  let environment: Record<string, string>;

  before(async () => {
    dynamo = await startDynamo();
    environment = {
      AWS_ENDPOINT_URL_DYNAMODB: dynamo.endpoint,
      AWS_ACCESS_KEY_ID: 'AKIADEMODEMODEMODEMO',
      AWS_SECRET_ACCESS_KEY: 'secret',
      AWS_REGION: 'us-east-1',
      AWS_EC2_METADATA_DISABLED: 'true',
    };
    table = { name: 'mint-leases', send: (call) => aws.table({ environment }, call) };
    await dynamo.makeTable('mint-leases');
  });
  after(async () => {
    await aws.close();
    await dynamo.close();
    rmSync(directory, { recursive: true, force: true });
  });

  const files = (name: string) => new FileLeases(resolvePaths({ configDir: join(directory, name) }));
  const stores: readonly (readonly [string, () => LeaseStore])[] = [
    ['files', () => files('steps')],
    ['DynamoDB', () => new DynamoLeases(table)],
  ];
  const idsOf = async (store: LeaseStore, project: string) =>
    (await store.read(project)).leases.map(({ id }) => id).sort();

  for (const [name, open] of stores) {
    test(`${name}: a project is taken once, and free again when its lease is closed`, async () => {
      const store = open();
      const [first, second] = [lease('web'), lease('web')];
      assert.equal(await takeLease(store, first, noon), undefined);
      const current = await takeLease(store, second, noon + minute);
      assert.deepEqual(current, first);
      assert.equal(await takeLease(store, lease('other'), noon), undefined, 'another project has its own');
      await closeLease(store, second);
      assert.equal((await takeLease(store, second, noon + minute))?.id, first.id, 'not its to close');
      await closeLease(store, first);
      assert.deepEqual(await idsOf(store, 'web'), []);
      assert.equal(await takeLease(store, second, noon + minute), undefined);
      assert.equal(await takeLease(store, second, noon + minute), undefined, 'again: it is its own');
    });

    test(`${name}: a dead holder’s project is free 7 minutes after its end, and its VM stays known to the reaper`, async () => {
      const store = open();
      const dead = lease('late');
      const next = lease('late', { startedAt: dead.endsAt, endsAt: dead.endsAt + 30 * minute });
      await takeLease(store, dead, noon);
      assert.equal((await takeLease(store, next, dead.endsAt + 7 * minute - 1))?.id, dead.id);
      assert.equal(await takeLease(store, next, dead.endsAt + 7 * minute), undefined);
      const known = (await store.readAll()).find(({ project }) => project === 'late')?.leases ?? [];
      assert.deepEqual(known.map(({ id }) => id).sort(), [dead.id, next.id].sort());
      await closeLease(store, dead);
      assert.equal((await takeLease(store, lease('late'), dead.endsAt + 8 * minute))?.id, next.id);
    });

    test(`${name}: a lease is stored completely, with a request to end it`, async () => {
      const store = open();
      const own = lease('whole', {
        destroy: {
          kind: 'terminate',
          instance: 'i-0123456789abcdef1',
          region: 'eusc-de-east-1',
          account: '999900001111',
        },
      });
      await takeLease(store, own, noon);
      assert.deepEqual((await store.read('whole')).leases, [own]);
      await requestEnd(store, own);
      assert.deepEqual((await store.read('whole')).leases, [{ ...own, isToEnd: true }]);
      await requestEnd(store, lease('whole'));
      assert.deepEqual((await store.read('nobodys')).leases, []);
    });

    test(`${name}: after a hundred leases that were not closed, no lease can be taken until a reaper has run`, async () => {
      const store = open();
      const many = Array.from({ length: 100 }, () => lease('many', { startedAt: 1, endsAt: 2 }));
      await store.update('many', () => ({ leases: many, result: undefined }));
      await assert.rejects(takeLease(store, lease('many'), noon), {
        code: 'io-failed',
        message: /100 leases of many are overdue/,
      });
    });
  }

  test('files: twenty orchestrators race, and exactly one gets the project, every time', async () => {
    const counts = await race({ configDir: join(directory, 'race'), rounds: 5, processes: 20, each: 1 });
    assert.deepEqual(counts, [2, 2, 1]);
  });

  test('DynamoDB: twenty orchestrators race, and exactly one gets the project, every time', async () => {
    const counts = await race({ configDir: directory, rounds: 5, table, environment, processes: 5, each: 4 });
    assert.deepEqual(counts, [2, 2, 1]);
  });

  test('DynamoDB: one write takes a lease; when its answer is lost, the lease is taken or known to all', async () => {
    const store = new DynamoLeases(table);
    const own = lease('lost');
    dynamo.loseAnswerTo('PutItem');
    assert.equal(await takeLease(store, own, noon), undefined);
    assert.equal((await takeLease(store, lease('lost'), noon))?.id, own.id);
    // The network is cut in the middle: no answer comes at all.
    const cut = lease('cut');
    const unanswered = new DynamoLeases({
      ...table,
      send: async (call) => {
        const reply = await table.send(call);
        if (call.operation === 'PutItem') throw new Error('cut');
        return reply;
      },
    });
    await assert.rejects(takeLease(unanswered, cut, noon), { message: 'cut' });
    const before = dynamo.operations.filter((operation) => operation === 'PutItem').length;
    assert.equal((await takeLease(store, lease('cut'), noon))?.id, cut.id, 'the project is blocked');
    const all = (await store.readAll()).flatMap(({ leases }) => leases);
    assert.ok(
      all.some(({ id }) => id === cut.id),
      '`debug list` shows it, and `debug end` finds it',
    );
    await closeLease(store, cut);
    assert.equal(await takeLease(store, lease('cut'), noon), undefined);
    assert.equal(dynamo.operations.filter((operation) => operation === 'PutItem').length, before + 2);
  });

  test('DynamoDB: the hint for a missing table has the command that makes it', async () => {
    const missing = new DynamoLeases({ ...table, name: 'nobodys' });
    await assert.rejects(
      missing.update('web', () => ({ leases: [], result: 0 })),
      {
        code: 'bad-settings',
        message: /no DynamoDB table nobodys/,
        hint: /aws dynamodb create-table --region us-east-1 --table-name nobodys .*AttributeName=key,KeyType=HASH/,
      },
    );
  });

  test('DynamoDB: an entry of another program is reported, kept, and blocks only its own project', async () => {
    await dynamo.makeTable('shared');
    const store = new DynamoLeases({ ...table, name: 'shared' });
    const good = lease('x');
    const bad = { ...lease('x'), vm: '$(reboot)' };
    const entries = [{ ...good }, bad, 'x'.repeat(20)];
    const put = (key: string, record: string) =>
      dynamo.put('shared', { key: { S: key }, record: { S: record }, revision: { S: '1' } });
    await put('leases#x', JSON.stringify({ version: 1, leases: entries }));
    await put('leases#y', '{');
    await put('leases#\u001b[2J', '{}');
    await put('something-else', '{}');
    await takeLease(store, lease('z'), noon);
    const all = await store.readAll();
    assert.deepEqual(
      all.map(({ project, leases, unreadable }) => [project, leases.length, unreadable.length]).sort(),
      [
        ['\\u{1b}[2J', 0, 1],
        ['x', 1, 2],
        ['y', 0, 1],
        ['z', 1, 0],
      ],
    );
    await assert.rejects(takeLease(store, lease('x'), noon + 365 * 24 * 60 * minute), { code: 'io-failed' });
    await assert.rejects(takeLease(store, lease('y'), noon), { code: 'io-failed' });
    await closeLease(store, good);
    assert.deepEqual((await store.read('x')).unreadable, [bad, 'x'.repeat(20)]);
  });

  test('files: a damaged one blocks only its own project; one that others can read blocks all', async () => {
    const store = files('damaged');
    await takeLease(store, lease('web'), noon);
    const path = join(directory, 'damaged', 'leases', 'web.json');
    writeFileSync(path, '{"version":1,"leases":[', { mode: 0o600 });
    await assert.rejects(takeLease(store, lease('web'), noon + 365 * 24 * 60 * minute), {
      code: 'io-failed',
      message: /a lease of web cannot be read/,
    });
    assert.equal(await takeLease(store, lease('other'), noon), undefined);
    const [other, web] = (await store.readAll()).toSorted((a, b) => (a.project < b.project ? -1 : 1));
    assert.equal(other?.leases.length, 1);
    assert.match(String(web?.unreadable[0]), /web\.json/);
    assert.match(readFileSync(path, 'utf8'), /\[$/, 'it is left as it was');
    rmSync(path);
    chmodSync(join(directory, 'damaged', 'leases'), 0o755);
    await assert.rejects(takeLease(store, lease('web'), noon), { code: 'unsafe-permissions' });
    chmodSync(join(directory, 'damaged', 'leases'), 0o700);
    const left = readdirSync(join(directory, 'damaged', 'leases'));
    assert.deepEqual(
      left.filter((name) => name.endsWith('.tmp')),
      [],
    );
  });
});
