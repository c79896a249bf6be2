/** Describing, starting and reading the console of instances, and who the caller is. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { ownerOf } from '../../src/aws/operations.ts';
import { demoSubnet, demoVpc, type Instance } from '../../src/demo/instance.ts';
import { queryFailureNames } from '../../src/demo/wire-failure.ts';
import { MintError } from '../../src/errors.ts';
import { demoAccessKey } from '../cloud/cloud.ts';
import { addKey, instanceId, type Setup, setUp } from './setup.ts';

let next = 0;

function add({ cloud }: Setup, more: Partial<Instance> = {}): string {
  next += 1;
  const id = `i-${String(next).padStart(17, '0')}`;
  cloud.instances.set(id, { id, region: 'us-east-1', state: 'running', address: '127.0.0.1', ...more });
  return id;
}

const mint = (name: string, owner: string, more = {}) => ({
  tags: { mint: 'true', 'mint:vm': name, 'mint:owner': owner, 'mint:bootstrap': 'complete', ...more },
});

async function rejection(promise: Promise<unknown>): Promise<MintError> {
  const [outcome] = await Promise.allSettled([promise]);
  if (outcome.status === 'rejected' && outcome.reason instanceof MintError) return outcome.reason;
  throw new Error(`no MintError: ${JSON.stringify(outcome)}`);
}

test('a VM is described with its tags, addresses, launch, account and zone', async (t) => {
  const setup = await setUp(t);
  const caller = { environment: setup.environment() };
  const id = add(setup, {
    ...mint('dev', 'anna', { Name: 'Dev <&> "box"' }),
    publicIp: '203.0.113.7',
    privateIp: '10.0.0.7',
    ipv6: '2001:db8::7',
    launchTime: Date.parse('2026-01-02T03:04:05Z'),
    keyName: 'old-key',
    zone: 'us-east-1b',
    account: '210987654321',
  });
  assert.deepEqual(await setup.aws.describeVms(caller, { names: ['dev'] }), [
    {
      instanceId: id,
      state: 'running',
      account: '210987654321',
      region: 'us-east-1',
      availabilityZone: 'us-east-1b',
      launchTime: '2026-01-02T03:04:05.000Z',
      name: 'dev',
      nameTag: 'Dev <&> "box"',
      owner: 'anna',
      bootstrap: 'complete',
      publicAddress: '203.0.113.7',
      privateAddress: '10.0.0.7',
      ipv6: '2001:db8::7',
      keyName: 'old-key',
      vpc: demoVpc,
      subnet: demoSubnet,
      image: 'ami-0d3f0000000000001',
      isMint: true,
    },
  ]);
});

test('reads every page, and separates owners and regions', async (t) => {
  const setup = await setUp(t);
  const caller = { environment: setup.environment() };
  const names = Array.from({ length: 13 }, (_, at) => `vm-${at}`);
  for (const name of names) add(setup, mint(name, 'anna'));
  add(setup, mint('vm-0', 'bert'));
  const far = add(setup, { ...mint('vm-0', 'anna'), region: 'eu-west-1' });
  add(setup, { tags: { Name: 'not-mints' } });
  const all = await setup.aws.describeVms(caller, {});
  assert.equal(all.length, 14);
  assert.equal(setup.cloud.requests.filter(({ operation }) => operation === 'DescribeInstances').length, 3);
  const annas = await setup.aws.describeVms(caller, { owner: 'anna' });
  assert.deepEqual(annas.map(({ name }) => name).toSorted(), names.toSorted());
  const both = await setup.aws.describeVms(caller, { names: ['vm-0'] });
  assert.deepEqual(both.map(({ owner }) => owner).toSorted(), ['anna', 'bert']);
  const [there, ...more] = await setup.aws.describeVms(caller, { region: 'eu-west-1', names: ['vm-0'] });
  assert.equal(there?.instanceId, far);
  assert.equal(there?.region, 'eu-west-1');
  assert.deepEqual(more, []);
});

test('finds a name in any case, literally, and by the requested tag', async (t) => {
  const setup = await setUp(t);
  const caller = { environment: setup.environment() };
  const dev = add(setup, mint('dev', 'anna'));
  const shouted = add(setup, mint('DEV', 'anna'));
  add(setup, mint('dex', 'anna'));
  add(setup, mint('dev-2', 'anna'));
  const named = add(setup, { tags: { Name: 'Dev' } });
  const star = add(setup, mint('*', 'anna'));
  const ids = async (more: object) => (await setup.aws.describeVms(caller, more)).map((vm) => vm.instanceId);
  assert.deepEqual(await ids({ names: ['dev'] }), [dev, shouted]);
  assert.deepEqual(await ids({ names: ['*'] }), [star]);
  assert.deepEqual(await ids({ nameTags: ['dev'] }), [named]);
  assert.deepEqual((await ids({ names: ['dev'], nameTags: ['dev'] })).toSorted(), [dev, shouted, named]);
  assert.deepEqual(await ids({ names: [] }), []);
  assert.deepEqual(await ids({ names: ['dev'], owner: '*' }), []);
});

test('asks for many names in several requests', async (t) => {
  const setup = await setUp(t);
  setup.cloud.pageSize = 1000;
  const digits = Array.from({ length: 450 }, (_, at) => String(1000 + at));
  for (const name of digits) add(setup, mint(name, 'anna'));
  const found = await setup.aws.describeVms({ environment: setup.environment() }, { names: digits });
  assert.equal(found.length, 450);
  assert.equal(setup.cloud.requests.length, 3);
});

test('omits terminated instances unless asked by ID, and addresses of stopped ones', async (t) => {
  const setup = await setUp(t);
  const caller = { environment: setup.environment() };
  const gone = add(setup, { ...mint('dev', 'anna'), state: 'terminated' });
  add(setup, { ...mint('dev', 'anna'), state: 'shutting-down' });
  const stopped = add(setup, { ...mint('dev', 'anna'), state: 'stopped', privateIp: '10.0.0.8' });
  const [found, ...more] = await setup.aws.describeVms(caller, { names: ['dev'] });
  assert.deepEqual(more, []);
  assert.equal(found?.instanceId, stopped);
  assert.equal(found?.publicAddress, undefined);
  assert.equal(found?.privateAddress, '10.0.0.8');
  const [byId] = await setup.aws.describeVms(caller, { ids: [gone] });
  assert.equal(byId?.state, 'terminated');
});

test('omits an invalid address', async (t) => {
  const setup = await setUp(t);
  const caller = { environment: setup.environment() };
  const id = add(setup, { publicIp: '-oProxyCommand=x', privateIp: 'localhost' });
  const [vm] = await setup.aws.describeVms(caller, { ids: [id] });
  assert.equal(vm?.publicAddress, undefined);
  assert.equal(vm?.privateAddress, undefined);
});

test('an unknown ID and an invalid ID have different messages', async (t) => {
  const { aws, environment } = await setUp(t);
  const caller = { environment: environment() };
  const missing = await rejection(aws.describeVms(caller, { ids: ['i-0ffffffffffffffff'] }));
  assert.equal(missing.code, 'vm-not-found');
  assert.match(missing.message, /no instance i-0ffffffffffffffff in us-east-1 for arn:\S+: .*does not exist/);
  const malformed = await rejection(aws.describeVms(caller, { ids: ['dev'] }));
  assert.equal(malformed.code, 'bad-settings');
  assert.match(malformed.hint ?? '', /ssh\.toml/);
});

test('returns the last 64 KB of the console as text with its time, empty at first', async (t) => {
  const setup = await setUp(t);
  const caller = { environment: setup.environment() };
  const early = add(setup);
  assert.equal((await setup.aws.consoleOutput(caller, { instanceId: early })).text, '');
  const at = Date.parse('2026-01-02T03:04:05Z');
  const id = add(setup, { console: { text: '[    0.000000] Linux\r\nübung \u001b[1m\u0000end\r\n', at } });
  assert.deepEqual(await setup.aws.consoleOutput(caller, { instanceId: id }), {
    text: '[    0.000000] Linux\r\nübung \u001b[1m\u0000end\r\n',
    at: '2026-01-02T03:04:05.000Z',
  });
  // Cut in the middle of a character.
  const long = add(setup, { console: { text: `x${'ü'.repeat(64 * 1024)}`, at } });
  const { text } = await setup.aws.consoleOutput(caller, { instanceId: long });
  assert.equal(text, 'ü'.repeat(32 * 1024));
});

test('a stopped instance starts, is pending, then runs at its new address', async (t) => {
  const setup = await setUp(t);
  const caller = { environment: setup.environment() };
  const id = add(setup, { state: 'stopped', start: { milliseconds: 300, publicIp: '203.0.113.9' } });
  assert.deepEqual(await setup.aws.startInstance(caller, { instanceId: id }), { state: 'pending' });
  assert.equal((await setup.aws.describeVms(caller, { ids: [id] }))[0]?.state, 'pending');
  await sleep(400);
  const [vm] = await setup.aws.describeVms(caller, { ids: [id] });
  assert.equal(vm?.state, 'running');
  assert.equal(vm?.publicAddress, '203.0.113.9');
  assert.deepEqual(await setup.aws.startInstance(caller, { instanceId: id }), { state: 'running' });
  const gone = add(setup, { state: 'terminated' });
  const error = await rejection(setup.aws.startInstance(caller, { instanceId: gone }));
  assert.equal(error.code, 'vm-not-running');
});

test('an identity is the caller’s own, with the owner tag that Mint would give it', async (t) => {
  const { cloud, aws, environment } = await setUp(t);
  const anna = addKey(cloud, 'anna');
  cloud.accessKeys.set(anna.id, {
    secret: anna.secret,
    arn: 'arn:aws:sts::210987654321:assumed-role/dev/Anna.Meyer@example.com',
    account: '210987654321',
  });
  const environments = [
    environment({ AWS_ACCESS_KEY_ID: anna.id, AWS_SECRET_ACCESS_KEY: anna.secret }),
    environment(),
  ];
  const [hers, other] = await Promise.all(
    environments.map((each) => aws.identity({ environment: each }, {})),
  );
  assert.deepEqual(hers, {
    account: '210987654321',
    arn: 'arn:aws:sts::210987654321:assumed-role/dev/Anna.Meyer@example.com',
    owner: 'anna-meyer',
  });
  assert.equal(other?.account, '123456789012');
});

test('computes the owner tag as Mint does', () => {
  const owners: readonly (readonly [arn: string, owner: string])[] = [
    ['arn:aws:iam::123456789012:root', 'root'],
    ['arn:aws-cn:iam::123456789012:root', 'root'],
    ['arn:aws-us-gov:iam::123456789012:root', 'root'],
    ['arn:aws:iam::123456789012:user/ryan', 'ryan'],
    ['arn:aws:iam::123456789012:user/Ryan', 'ryan'],
    ['arn:aws:iam::123456789012:user/team/Bert', 'bert'],
    ['arn:aws:iam::123456789012:user/a/b/c/d/Eva', 'eva'],
    ['arn:aws:iam::123456789012:user/ryan@example.com', 'ryan'],
    ['arn:aws:iam::123456789012:user/Ryan.Smith@example.com', 'ryan-smith'],
    ['arn:aws:iam::123456789012:user/@ryan', 'ryan'],
    ['arn:aws:iam::123456789012:user/@ryan@example.com', 'ryan-example-com'],
    ['arn:aws:iam::123456789012:user/@', ''],
    ['arn:aws:iam::123456789012:user/a@', 'a'],
    ['arn:aws:iam::123456789012:user/a@b@c', 'a'],
    ['arn:aws:iam::123456789012:user/_-_', ''],
    ['arn:aws:iam::123456789012:user/--x--', 'x'],
    ['arn:aws:iam::123456789012:user/a+b=c,d.e_f-g', 'a-b-c-d-e-f-g'],
    ['arn:aws:iam::123456789012:user/007', '007'],
    ['arn:aws:sts::123456789012:assumed-role/Dev/anna', 'anna'],
    ['arn:aws:sts::123456789012:assumed-role/Dev/Anna.Meyer@example.com', 'anna-meyer'],
    ['arn:aws:sts::123456789012:assumed-role/AWSReservedSSO_Admin_0123456789abcdef/anna@example.com', 'anna'],
    ['arn:aws:sts::123456789012:assumed-role/Dev/i-0123456789abcdef0', 'i-0123456789abcdef0'],
    ['arn:aws:sts::123456789012:assumed-role/x/_Zoë__K_@a@b', 'zo-k'],
    ['arn:aws:sts::123456789012:assumed-role/Dev/botocore-session-1700000000', 'botocore-session-1700000000'],
    ['arn:aws:sts::123456789012:assumed-role/Dev/@', ''],
    ['arn:aws:sts::123456789012:federated-user/Bob', 'bob'],
    ['arn:aws:sts::123456789012:federated-user/Bob:x', 'bob-x'],
    ['arn:aws:sts::123456789012:assumed-role/Dev/', ''],
    ['arn:aws:iam::123456789012:', ''],
    ['arn:aws:iam::123456789012', ''],
    ['root', ''],
    ['', ''],
  ];
  for (const [arn, owner] of owners) assert.equal(ownerOf(arn), owner, arn);
});

test('names a denied action, and other actions still work', async (t) => {
  const setup = await setUp(t);
  const { cloud, aws } = setup;
  const id = add(setup, mint('dev', 'anna'));
  type Call = (caller: { environment: Record<string, string> }) => Promise<unknown>;
  const calls: Readonly<Record<string, Call>> = {
    'ec2:GetConsoleOutput': (caller) => aws.consoleOutput(caller, { instanceId: id }),
    'ec2:StartInstances': (caller) => aws.startInstance(caller, { instanceId: id }),
    'ec2:DescribeInstances': (caller) => aws.describeVms(caller, { names: ['dev'] }),
    'sts:GetCallerIdentity': (caller) => aws.identity(caller, {}),
  };
  for (const denied of Object.keys(calls)) {
    const key = addKey(cloud, denied.replace(/\W/g, ''));
    cloud.accessKeys.set(key.id, { secret: key.secret, denied: [denied] });
    const caller = {
      environment: setup.environment({ AWS_ACCESS_KEY_ID: key.id, AWS_SECRET_ACCESS_KEY: key.secret }),
    };
    for (const [action, call] of Object.entries(calls)) {
      if (action !== denied) {
        await call(caller);
        continue;
      }
      const error = await rejection(call(caller));
      assert.equal(error.code, 'aws-denied');
      assert.match(error.message, new RegExp(`does not allow ${action}`));
      assert.match(
        error.hint ?? '',
        new RegExp(
          action.startsWith('sts:')
            ? `allow ${action}, for: aws`
            : `allow ${action} to arn:aws:iam::123456789012:user/`,
        ),
      );
    }
  }
});

test('every failure of EC2 and STS has a code and a hint, and no secret', async (t) => {
  const { cloud, aws, environment } = await setUp(t);
  const caller = { environment: environment() };
  const codes: Record<string, string> = {};
  for (const name of queryFailureNames) {
    cloud.faults.failNext(name, Number.POSITIVE_INFINITY);
    const error = await rejection(aws.describeVms(caller, { ids: [instanceId] }));
    cloud.faults.clear();
    codes[name] = error.code;
    assert.ok(error.hint, name);
    assert.ok(!`${error.message} ${error.hint}`.includes(demoAccessKey.secret), name);
  }
  assert.deepEqual(codes, {
    AuthFailure: 'aws-credentials',
    IncorrectInstanceState: 'vm-not-running',
    InsufficientInstanceCapacity: 'vm-not-running',
    InternalError: 'aws-unreachable',
    InvalidAction: 'io-failed',
    'InvalidInstanceID.Malformed': 'bad-settings',
    'InvalidInstanceID.NotFound': 'vm-not-found',
    'InvalidKey.Format': 'io-failed',
    'InvalidKeyPair.Duplicate': 'io-failed',
    'InvalidKeyPair.NotFound': 'io-failed',
    InvalidParameterCombination: 'io-failed',
    InvalidParameterValue: 'io-failed',
    MissingParameter: 'io-failed',
    RequestExpired: 'aws-credentials',
    RequestLimitExceeded: 'aws-throttled',
    UnauthorizedOperation: 'aws-denied',
    Unavailable: 'aws-unreachable',
    UnknownParameter: 'io-failed',
    UnsupportedOperation: 'io-failed',
    AccessDenied: 'aws-denied',
    ExpiredToken: 'aws-credentials',
    IncompleteSignature: 'aws-credentials',
    InvalidClientTokenId: 'aws-credentials',
    MissingAuthenticationToken: 'aws-credentials',
    SignatureDoesNotMatch: 'aws-credentials',
    Throttling: 'aws-throttled',
  });
});

test('a wrong secret and an expired token fail for EC2 and STS as they do for a push', async (t) => {
  const { cloud, aws, environment } = await setUp(t);
  const old = addKey(cloud, 'old', { sessionToken: 'the-token-of-old', expiresAt: Date.now() - 1000 });
  const expired = environment({
    AWS_ACCESS_KEY_ID: old.id,
    AWS_SECRET_ACCESS_KEY: old.secret,
    AWS_SESSION_TOKEN: 'the-token-of-old',
  });
  const wrong = environment({ AWS_SECRET_ACCESS_KEY: 'not the right secret' });
  for (const each of [expired, wrong]) {
    const caller = { environment: each };
    const errors = [await rejection(aws.describeVms(caller, {})), await rejection(aws.identity(caller, {}))];
    for (const error of errors) {
      assert.equal(error.code, 'aws-credentials');
      assert.match(error.hint ?? '', /AWS_SESSION_TOKEN/);
    }
  }
});

test('ends a hanging call in time, and retries a throttled request', async (t) => {
  const { cloud, aws, environment } = await setUp(t);
  const caller = { environment: environment() };
  cloud.faults.failNext('RequestLimitExceeded', 2);
  assert.equal((await aws.describeVms(caller, { ids: [instanceId] })).length, 1);
  cloud.faults.hang();
  const start = performance.now();
  const error = await rejection(aws.consoleOutput(caller, { instanceId }));
  assert.equal(error.code, 'aws-unreachable');
  assert.ok(performance.now() - start < 60_000);
});
