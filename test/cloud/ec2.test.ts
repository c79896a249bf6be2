/** The stand-in's EC2 and STS: what they say on the wire, asked by hand and by the SDK's own clients. */
import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  DescribeInstancesCommand,
  type DescribeInstancesCommandInput,
  DescribeRegionsCommand,
  EC2Client,
  GetConsoleOutputCommand,
  paginateDescribeInstances,
  StartInstancesCommand,
} from '@aws-sdk/client-ec2';
import { GetCallerIdentityCommand, STSClient } from '@aws-sdk/client-sts';
import type { Instance } from '../../src/demo/instance.ts';
import { type Cloud, demoAccessKey, startCloud } from './cloud.ts';

let cloud: Cloud;
let ec2: EC2Client;
let sts: STSClient;

const settings = (accessKeyId = demoAccessKey.id, secretAccessKey = demoAccessKey.secret) => ({
  endpoint: cloud.endpoint,
  region: 'us-east-1',
  credentials: { accessKeyId, secretAccessKey },
  maxAttempts: 1,
});

const id = (number: number) => `i-${String(number).padStart(17, '0')}`;

function add(number: number, more: Partial<Instance> = {}): string {
  const instance: Instance = { id: id(number), region: 'us-east-1', state: 'running', address: '127.0.0.1' };
  cloud.instances.set(id(number), { ...instance, ...more });
  return id(number);
}

before(async () => {
  cloud = await startCloud();
  ec2 = new EC2Client(settings());
  sts = new STSClient(settings());
});
beforeEach(() => {
  cloud.faults.clear();
  cloud.instances.clear();
});
after(async () => {
  ec2.destroy();
  sts.destroy();
  await cloud.close();
});

async function ids(input: DescribeInstancesCommandInput): Promise<(string | undefined)[]> {
  const { Reservations = [] } = await ec2.send(new DescribeInstancesCommand(input));
  return Reservations.flatMap(({ Instances = [] }) => Instances.map(({ InstanceId }) => InstanceId));
}

const filter = (Name: string, ...Values: string[]) => ({ Filters: [{ Name, Values }] });

describe('DescribeInstances', { timeout: 180_000 }, () => {
  test('filters by tag, tag key, state and id; every filter and any of its values has to match', async () => {
    const [one, two, three] = [
      add(1, { tags: { team: 'a', Name: 'x' } }),
      add(2, { tags: { team: 'b' }, state: 'stopped' }),
      add(3, { tags: { Team: 'a' } }),
    ];
    assert.deepEqual(await ids(filter('tag:team', 'a', 'c')), [one]);
    assert.deepEqual(await ids(filter('tag-key', 'team')), [one, two]);
    assert.deepEqual(await ids(filter('instance-state-name', 'stopped', 'pending')), [two]);
    assert.deepEqual(await ids(filter('instance-id', three ?? '')), [three]);
    const both = [...filter('tag-key', 'team').Filters, ...filter('instance-state-name', 'running').Filters];
    assert.deepEqual(await ids({ Filters: both }), [one]);
    await assert.rejects(ids(filter('colour', 'red')), { name: 'InvalidParameterValue' });
  });

  test('supports * and ? in a filter, and a backslash before literal ones', async () => {
    const plain = add(1, { tags: { n: 'dev' } });
    const odd = add(2, { tags: { n: 'd*v\\(' } });
    assert.deepEqual(await ids(filter('tag:n', 'd*')), [plain, odd]);
    assert.deepEqual(await ids(filter('tag:n', 'd?v')), [plain]);
    assert.deepEqual(await ids(filter('tag:n', 'd\\*v\\\\(')), [odd]);
    assert.deepEqual(await ids(filter('tag:n', 'de')), []);
  });

  test('returns smaller pages than requested, whose tokens are valid for the same request only', async () => {
    for (let number = 1; number <= 12; number++) add(number);
    const sizes: number[] = [];
    for await (const page of paginateDescribeInstances({ client: ec2, pageSize: 1000 }, {})) {
      sizes.push(page.Reservations?.length ?? 0);
    }
    assert.deepEqual(sizes, [5, 5, 2]);
    const { NextToken } = await ec2.send(new DescribeInstancesCommand({}));
    assert.ok(NextToken);
    const other = { ...filter('tag-key', 'x'), NextToken };
    await assert.rejects(ids(other), { name: 'InvalidParameterValue' });
    await assert.rejects(ids({ NextToken: 'x' }), { name: 'InvalidParameterValue' });
    await assert.rejects(ids({ MaxResults: 2 }), { name: 'InvalidParameterValue' });
    const named = { InstanceIds: [id(1)], MaxResults: 10 };
    await assert.rejects(ids(named), { name: 'InvalidParameterCombination' });
  });

  test('returns the instances of a region, and names an unknown or invalid ID', async () => {
    add(1, { region: 'eu-west-1' });
    assert.deepEqual(await ids({}), []);
    await assert.rejects(ids({ InstanceIds: [id(1)] }), {
      name: 'InvalidInstanceID.NotFound',
      message: `The instance ID '${id(1)}' does not exist`,
    });
    await assert.rejects(ids({ InstanceIds: ['dev'] }), { name: 'InvalidInstanceID.Malformed' });
  });
});

test('a console is empty, then base64 of what was printed', async () => {
  const instance = add(1);
  const command = () => new GetConsoleOutputCommand({ InstanceId: instance, Latest: true });
  assert.equal((await ec2.send(command())).Output ?? '', '');
  add(1, { console: { text: 'a\r\n', at: 1_000 } });
  const { Output, Timestamp } = await ec2.send(command());
  assert.equal(Output, 'YQ0K');
  assert.equal(Timestamp?.getTime(), 1_000);
});

test('starting takes time, and a stopping instance cannot be started', async () => {
  const instance = add(1, { state: 'stopped', start: { milliseconds: 100, publicIp: '203.0.113.9' } });
  const start = () => ec2.send(new StartInstancesCommand({ InstanceIds: [instance] }));
  const [change] = (await start()).StartingInstances ?? [];
  assert.deepEqual(change?.PreviousState, { Code: 80, Name: 'stopped' });
  assert.deepEqual(change?.CurrentState, { Code: 0, Name: 'pending' });
  await sleep(200);
  assert.equal(cloud.instances.get(instance)?.state, 'running');
  assert.equal(cloud.instances.get(instance)?.publicIp, '203.0.113.9');
  add(1, { state: 'stopping' });
  await assert.rejects(start(), { name: 'IncorrectInstanceState' });
});

describe('a caller of a Query service', { timeout: 180_000 }, () => {
  test('is identified by its key', async () => {
    const arn = 'arn:aws:sts::210987654321:assumed-role/dev/anna';
    cloud.accessKeys.set('AKIAANNA', { secret: 's', arn, account: '210987654321' });
    const client = new STSClient(settings('AKIAANNA', 's'));
    const { Arn, Account } = await client.send(new GetCallerIdentityCommand({}));
    assert.deepEqual([Arn, Account], [arn, '210987654321']);
    client.destroy();
  });

  test('is refused with that service’s own errors', async () => {
    cloud.accessKeys.set('AKIADENIED', { secret: 's', denied: ['ec2:DescribeInstances'] });
    const cases: [string, string, number, string, number][] = [
      [demoAccessKey.id, 'AuthFailure', 401, 'SignatureDoesNotMatch', 403],
      ['AKIANOBODY', 'AuthFailure', 401, 'InvalidClientTokenId', 403],
    ];
    for (const [key, inEc2, status, inSts, stsStatus] of cases) {
      const [compute, tokens] = [
        new EC2Client(settings(key, 'wrong')),
        new STSClient(settings(key, 'wrong')),
      ];
      await assert.rejects(compute.send(new DescribeInstancesCommand({})), (error: never) => {
        const { name, $metadata } = error as { name: string; $metadata: { httpStatusCode: number } };
        assert.deepEqual([name, $metadata.httpStatusCode], [inEc2, status]);
        return true;
      });
      await assert.rejects(tokens.send(new GetCallerIdentityCommand({})), (error: never) => {
        const { name, $metadata } = error as { name: string; $metadata: { httpStatusCode: number } };
        assert.deepEqual([name, $metadata.httpStatusCode], [inSts, stsStatus]);
        return true;
      });
    }
    const denied = new EC2Client(settings('AKIADENIED', 's'));
    await assert.rejects(denied.send(new DescribeInstancesCommand({})), { name: 'UnauthorizedOperation' });
    const console = denied.send(new GetConsoleOutputCommand({ InstanceId: add(1) }));
    assert.equal((await console).InstanceId, id(1));
  });

  test('meets the same faults as any other, with the request id in the answer', async () => {
    cloud.faults.throttle({ perSecond: 0.001, burst: 1 });
    await ids({});
    await assert.rejects(ids({}), { name: 'RequestLimitExceeded' });
    cloud.faults.clear();
    cloud.faults.failNext('ExpiredTokenException');
    await assert.rejects(sts.send(new GetCallerIdentityCommand({})), { name: 'ExpiredToken' });
    cloud.faults.failNext('InternalError');
    await assert.rejects(ids({}), (error: never) => {
      const { $metadata } = error as { $metadata: { requestId: string } };
      assert.equal($metadata.requestId, cloud.requests.at(-1)?.requestId);
      return true;
    });
  });

  test('gets valid XML for any tag', async () => {
    add(1, { tags: { n: '<&>"\'\r\n\u0001\u001b ü]]>' } });
    const { Reservations } = await ec2.send(new DescribeInstancesCommand({}));
    const [tag] = Reservations?.[0]?.Instances?.[0]?.Tags ?? [];
    assert.equal(tag?.Value, '<&>"\'\r\n\ufffd\ufffd ü]]>');
  });

  test('without a signature, or with an unknown action, gets an error in XML', async () => {
    const answer = await fetch(cloud.endpoint, {
      method: 'POST',
      headers: { 'content-type': 'application/x-www-form-urlencoded; charset=utf-8' },
      body: 'Action=DescribeInstances&Version=2016-11-15',
    });
    assert.equal(answer.status, 401);
    assert.match(
      await answer.text(),
      /^<\?xml[^>]+>\n<Response><Errors><Error><Code>AuthFailure<\/Code><Message>[^<]+<\/Message><\/Error><\/Errors><RequestID>[\w-]+<\/RequestID><\/Response>$/,
    );
    await assert.rejects(ec2.send(new DescribeRegionsCommand({})), { name: 'InvalidAction' });
  });
});

describe('a fault', { timeout: 180_000 }, () => {
  const console = () => ec2.send(new GetConsoleOutputCommand({ InstanceId: id(1) }));

  test('can affect one operation only: it fails, is late or hangs, and recovers', async () => {
    add(1, { console: { text: 'booted', at: 0 } });
    const faults = cloud.faults.of('GetConsoleOutput');
    faults.failNext('InternalError', Number.POSITIVE_INFINITY);
    await assert.rejects(console(), { name: 'InternalError' });
    assert.deepEqual(await ids({}), [id(1)]);
    faults.clear();
    assert.equal((await console()).InstanceId, id(1));

    const release = faults.hold();
    const late = console();
    assert.deepEqual(await ids({}), [id(1)]);
    release();
    assert.equal((await late).InstanceId, id(1));
  });

  test('can affect one service only', async () => {
    cloud.faults.of('ec2').failNext('Unavailable', Number.POSITIVE_INFINITY);
    await assert.rejects(ids({}), { name: 'Unavailable' });
    await sts.send(new GetCallerIdentityCommand({}));
    cloud.faults.of('ec2').clear();
    assert.deepEqual(await ids({}), []);
  });

  test('can be an outage: connections are refused until it ends', async () => {
    const end = await cloud.goOffline();
    // Another client: this one may still find connections in its pool that were cut.
    const fresh = new EC2Client(settings());
    const ask = () => fresh.send(new DescribeInstancesCommand({}));
    await assert.rejects(ask(), { code: 'ECONNREFUSED' });
    await end();
    assert.deepEqual((await ask()).Reservations, []);
    fresh.destroy();
  });
});
