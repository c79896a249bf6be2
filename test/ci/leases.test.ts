/** The one lease of a project, in both stores: taken by one, given back by whoever has it, or by time. */
import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { AwsWorkers } from '../../src/aws/workers.ts';
import type { LeaseTable } from '../../src/ci/dynamo-leases.ts';
import { type Lease, newLeaseId } from '../../src/ci/lease.ts';
import { type LeaseStore, openLeases } from '../../src/ci/lease-store.ts';
import { makeLeaseTable } from '../../src/ci/lease-table.ts';
import { MintError } from '../../src/errors.ts';
import { resolvePaths } from '../../src/platform/paths.ts';
import { type Dynamo, startDynamo } from './dynamo.ts';
import { race } from './lease-race.ts';

const minute = 60_000;
const noon = Date.UTC(2026, 0, 1, 12);

function lease(project: string, changes: Partial<Lease> = {}): Lease {
  const place = { vm: 'build', host: '203.0.113.7', port: 22, user: 'ubuntu', holder: 'anna@ci, pid 1' };
  const destroy = { kind: 'terminate', instance: 'i-0123456789abcdef0', region: 'us-east-1' } as const;
  return {
    id: newLeaseId(),
    project,
    ...place,
    startedAt: noon,
    endsAt: noon + 30 * minute,
    destroy,
    ...changes,
  };
}

describe('leases', { timeout: 180_000 }, () => {
  const directory = mkdtempSync('/tmp/ml-');
  const aws = new AwsWorkers();
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
    assert.deepEqual(await makeLeaseTable(table), { isNew: true, withoutTtl: undefined });
  });
  after(async () => {
    await aws.close();
    await dynamo.close();
    rmSync(directory, { recursive: true, force: true });
  });

  const stores: readonly (readonly [string, () => LeaseStore])[] = [
    ['files', () => openLeases(resolvePaths({ configDir: join(directory, 'steps') }), undefined)],
    ['DynamoDB', () => openLeases(resolvePaths({ configDir: directory }), table)],
  ];

  for (const [name, open] of stores) {
    test(`${name}: a project is taken once, and free again when the VM is destroyed`, async () => {
      const store = open();
      const [first, second] = [lease('web'), lease('web')];
      assert.equal(await store.take(first, noon), undefined);
      const held = await store.take(second, noon + minute);
      assert.equal(held?.id, first.id);
      assert.equal(held?.holder, 'anna@ci, pid 1');
      assert.equal(held?.endsAt, first.endsAt);
      assert.equal(await store.take(lease('other'), noon), undefined, 'another project has its own');
      await store.close(second);
      assert.equal(
        (await store.take(second, noon + minute))?.id,
        first.id,
        'only its own holder gives it back',
      );
      await store.close(first);
      assert.equal(await store.find(first.id), undefined);
      assert.equal(await store.take(second, noon + minute), undefined);
    });

    test(`${name}: a holder that died frees it 5 minutes and 2 of skew behind its end, and its VM stays known`, async () => {
      const store = open();
      const dead = lease('late');
      const next = lease('late', { startedAt: dead.endsAt, endsAt: dead.endsAt + 30 * minute });
      await store.take(dead, noon);
      assert.equal((await store.take(next, dead.endsAt + 7 * minute - 1))?.id, dead.id);
      assert.equal(await store.take(next, dead.endsAt + 7 * minute), undefined);
      const open_ = (await store.list()).filter(({ project }) => project === 'late').map(({ id }) => id);
      assert.deepEqual(
        open_.sort(),
        [dead.id, next.id].sort(),
        'the reaper still finds the VM of the dead one',
      );
      await store.close(dead);
      const third = lease('late');
      assert.equal(
        (await store.take(third, dead.endsAt + 8 * minute))?.id,
        next.id,
        'the next one kept the project',
      );
    });

    test(`${name}: a VM is destroyed by one at a time, and by another only when that one was too slow`, async () => {
      const store = open();
      const own = lease('end');
      await store.take(own, noon);
      const until = noon + 5 * minute;
      const both = await Promise.all(['a', 'b'].map((by) => store.beginEnd(own.id, by, noon, until)));
      assert.deepEqual(both.sort(), [false, true]);
      assert.equal(await store.beginEnd(own.id, 'c', until - 1, until + minute), false);
      assert.equal(await store.beginEnd(own.id, 'c', until, until + minute), true);
      assert.equal((await store.find(own.id))?.endingUntil, until + minute);
      await store.close(own);
      assert.equal(
        await store.beginEnd(own.id, 'd', noon + 60 * minute, noon + 61 * minute),
        false,
        'it is done',
      );
      assert.equal(await store.find(own.id), undefined, 'a late one brings nothing back');
      assert.equal(await store.askToEnd(own.id), false);
    });

    test(`${name}: what was kept is given back as it was, and that it is to end`, async () => {
      const store = open();
      const own = lease('whole', { destroy: { kind: 'command' } });
      await store.take(own, noon);
      assert.deepEqual(await store.find(own.id), {
        ...plain(await store.find(own.id)),
        ...own,
        isToEnd: false,
      });
      assert.equal(await store.askToEnd(own.id), true);
      assert.equal((await store.find(own.id))?.isToEnd, true);
      assert.equal(await store.find('0'.repeat(12)), undefined);
    });
  }

  test('files: twenty orchestrators race, and exactly one has the project, every time', async () => {
    const counts = await race({ configDir: join(directory, 'race'), rounds: 5, processes: 20, each: 1 });
    assert.deepEqual(counts, [2, 2, 1]);
  });

  test('DynamoDB: twenty orchestrators race, and exactly one has the project, every time', async () => {
    const counts = await race({ configDir: directory, rounds: 5, table, environment, processes: 5, each: 4 });
    assert.deepEqual(counts, [2, 2, 1]);
  });

  test('DynamoDB: an answer that was lost is no one else’s lease', async () => {
    const store = openLeases(resolvePaths({ configDir: directory }), table);
    const own = lease('lost');
    dynamo.loseAnswerTo('PutItem');
    assert.equal(await store.take(own, noon), undefined);
    assert.equal((await store.take(lease('lost'), noon))?.id, own.id);
  });

  test('DynamoDB: items are cleaned up long after they matter, and a table that is there is kept', async () => {
    assert.equal(dynamo.timeToLive.get('mint-leases'), 'ttl');
    assert.deepEqual(await makeLeaseTable(table), { isNew: false, withoutTtl: undefined });
    const own = lease('ttl');
    await openLeases(resolvePaths({ configDir: directory }), table).take(own, noon);
    const { output } = await table.send({
      table: table.name,
      operation: 'GetItem',
      input: { Key: { key: { S: `lease#${own.id}` } } },
    });
    const { ttl } = output['Item'] as { readonly ttl: { readonly N: string } };
    assert.ok(Number(ttl.N) * 1000 > own.endsAt + 24 * 60 * minute);
  });

  test('DynamoDB: a table that is not there, and one that is for something else', async () => {
    const missing = openLeases(resolvePaths({ configDir: directory }), { ...table, name: 'nobodys' });
    await assert.rejects(missing.take(lease('web'), noon), {
      code: 'bad-settings',
      message: /no DynamoDB table nobodys/,
    });
    await table.send({
      table: 'others',
      operation: 'CreateTable',
      input: {
        AttributeDefinitions: [{ AttributeName: 'name', AttributeType: 'S' }],
        KeySchema: [{ AttributeName: 'name', KeyType: 'HASH' }],
        BillingMode: 'PAY_PER_REQUEST',
      },
    });
    await assert.rejects(makeLeaseTable({ ...table, name: 'others' }), { code: 'bad-settings' });
  });

  test('DynamoDB: what someone else wrote into the table is no lease', async () => {
    const store = openLeases(resolvePaths({ configDir: directory }), table);
    const bad = { ...lease('x'), vm: '$(reboot)', id: '0123456789ab' };
    const wrong = {
      ...lease('x'),
      destroy: { kind: 'terminate', instance: 'i-1 --all', region: 'us-east-1' },
    };
    for (const [key, data] of [
      [`lease#${bad.id}`, JSON.stringify(bad)],
      [`lease#${wrong.id}`, JSON.stringify(wrong)],
      ['lease#ffffffffffff', JSON.stringify(lease('x'))],
      ['lease#eeeeeeeeeeee', '{'],
    ] as const) {
      const Item = { key: { S: key }, data: { S: data } };
      await table.send({ table: table.name, operation: 'PutItem', input: { Item } });
    }
    const found = (await store.list()).map(({ project }) => project);
    assert.ok(!found.includes('x'));
    assert.ok(found.length > 0, 'and the others are still there');
  });

  test('files: one that is damaged, or open to others, lets nobody in', async () => {
    const configDir = join(directory, 'damaged');
    const store = openLeases(resolvePaths({ configDir }), undefined);
    await store.take(lease('web'), noon);
    const path = join(configDir, 'leases', 'projects', 'web.json');
    writeFileSync(path, '{"id":');
    const isDamaged = (error: unknown) => error instanceof MintError && /damaged/.test(error.message);
    await assert.rejects(store.take(lease('web'), noon + 365 * 24 * 60 * minute), isDamaged);
    rmSync(path);
    chmodSync(join(configDir, 'leases'), 0o755);
    await assert.rejects(store.take(lease('web'), noon), { code: 'unsafe-permissions' });
    chmodSync(join(configDir, 'leases'), 0o700);
    const left = readdirSync(join(configDir, 'leases'), { recursive: true, encoding: 'utf8' });
    assert.deepEqual(
      left.filter((name) => name.endsWith('.tmp')),
      [],
    );
  });
});

function plain<T extends object>(value: T | undefined): Partial<T> {
  return value ?? {};
}
