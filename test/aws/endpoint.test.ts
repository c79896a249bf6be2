import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import type { TunnelRequest } from '../../src/aws/requests.ts';
import { demoVpc } from '../../src/demo/instance.ts';
import { MintError } from '../../src/errors.ts';
import { demoAccessKey, demoRegion } from '../cloud/cloud.ts';
import type { InstanceConnectEndpoint } from '../cloud/ec2-endpoints.ts';
import { presignedFault } from '../cloud/presigned.ts';
import { addKey, type Setup, setUp } from './setup.ts';

const request: TunnelRequest = {
  vpc: demoVpc,
  subnet: 'subnet-0000000b',
  zone: `${demoRegion}b`,
  ipv4: '10.0.0.7',
  port: 22,
};

function show({ cloud }: Setup, id: string, more: Partial<InstanceConnectEndpoint> = {}): string {
  const endpoint: InstanceConnectEndpoint = {
    id: `eice-${id}`,
    region: demoRegion,
    dnsName: `eice-${id}.example.ec2-instance-connect-endpoint.amazonaws.com`,
    state: 'create-complete',
    vpc: demoVpc,
    subnet: 'subnet-0a',
    zone: `${demoRegion}a`,
    ...more,
  };
  cloud.endpoints.set(endpoint.id, endpoint);
  return endpoint.id;
}

async function open(setup: Setup, more: Partial<TunnelRequest> = {}, environment = setup.environment()) {
  return await setup.aws.tunnel({ environment }, { ...request, ...more });
}

async function failureOf(promise: Promise<unknown>): Promise<MintError> {
  const error = await promise.then(
    () => assert.fail('it succeeded'),
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof MintError, String(error));
  return error;
}

function faultIn(setup: Setup, url: string): string | undefined {
  const parsed = new URL(url);
  return presignedFault({ method: 'GET', url: parsed, host: parsed.host }, setup.cloud.accessKeys, {
    service: 'ec2-instance-connect',
    longest: 60,
  });
}

test('the URL of a tunnel has AWS’s parameters, signed for a minute', async (t: TestContext) => {
  const setup = await setUp(t);
  const id = show(setup, '0a');
  const { endpoint, url, seconds } = await open(setup);
  assert.equal(endpoint, id);
  assert.equal(seconds, 3600);
  const { protocol, host, pathname, searchParams } = new URL(url);
  assert.deepEqual(
    [protocol, host, pathname],
    ['wss:', `${id}.example.ec2-instance-connect-endpoint.amazonaws.com`, '/openTunnel'],
  );
  const { 'X-Amz-Date': _date, 'X-Amz-Signature': signature, ...fields } = Object.fromEntries(searchParams);
  assert.match(signature ?? '', /^[0-9a-f]{64}$/);
  assert.match(fields['X-Amz-Credential'] ?? '', new RegExp(`^${demoAccessKey.id}/\\d{8}/${demoRegion}/`));
  delete fields['X-Amz-Credential'];
  assert.deepEqual(fields, {
    instanceConnectEndpointId: id,
    remotePort: '22',
    privateIpAddress: '10.0.0.7',
    maxTunnelDuration: '3600',
    'X-Amz-Algorithm': 'AWS4-HMAC-SHA256',
    'X-Amz-Expires': '60',
    'X-Amz-SignedHeaders': 'host',
  });
  assert.equal(faultIn(setup, url), undefined);
  assert.match(faultIn(setup, url.replace('remotePort=22', 'remotePort=23')) ?? '', /does not match/);
});

test('signs a session token with any characters', async (t: TestContext) => {
  const setup = await setUp(t);
  show(setup, '0a');
  const sessionToken = `a+b/c==!'()*~&?%41${'x'.repeat(20)}`;
  const { id, secret } = addKey(setup.cloud, 'token', { sessionToken });
  const environment = setup.environment({
    AWS_ACCESS_KEY_ID: id,
    AWS_SECRET_ACCESS_KEY: secret,
    AWS_SESSION_TOKEN: sessionToken,
  });
  const { url } = await open(setup, {}, environment);
  assert.equal(new URL(url).searchParams.get('X-Amz-Security-Token'), sessionToken);
  assert.equal(faultIn(setup, url), undefined);
});

test('chooses the endpoint in the VM’s subnet, else one in its zone, else any that works', async (t) => {
  const setup = await setUp(t);
  setup.cloud.pageSize = 1;
  show(setup, '01', { vpc: 'vpc-0other', subnet: 'subnet-0000000b' });
  show(setup, '02', { region: 'eu-west-1', subnet: 'subnet-0000000b' });
  show(setup, '03', { state: 'delete-complete', subnet: 'subnet-0000000b' });
  const any = show(setup, '04', { state: 'update-in-progress' });
  const zone = show(setup, '05', { zone: `${demoRegion}b` });
  const subnet = show(setup, '06', { subnet: 'subnet-0000000b' });
  assert.equal((await open(setup)).endpoint, subnet);
  assert.equal((await open(setup, { subnet: 'subnet-0c' })).endpoint, zone);
  assert.equal((await open(setup, { subnet: 'subnet-0c', zone: `${demoRegion}c` })).endpoint, any);
});

test('does not ask for an endpoint again within a minute', async (t: TestContext) => {
  const setup = await setUp(t);
  show(setup, '0a');
  const urls = [await open(setup), await open(setup, { port: 23 })].map(({ url }) => url);
  assert.notEqual(urls[0], urls[1]);
  const asked = setup.cloud.requests.filter(({ operation }) => operation.includes('ConnectEndpoints'));
  assert.equal(asked.length, 1);
});

test('the hint for a VPC without an endpoint creates one; for one that is being created, it says to wait', async (t) => {
  const setup = await setUp(t);
  const none = await failureOf(open(setup));
  assert.deepEqual(
    [none.code, none.message],
    ['dial-failed', `${demoVpc} has no EC2 Instance Connect Endpoint`],
  );
  assert.match(
    none.hint ?? '',
    /aws ec2 create-instance-connect-endpoint --subnet-id subnet-0000000b --region us-east-1/,
  );
  show(setup, '0a', { state: 'create-in-progress' });
  assert.match((await failureOf(open(setup))).message, /still being created/);
});

test('never connects to an invalid host name', async (t: TestContext) => {
  const setup = await setUp(t);
  for (const dnsName of ['', 'a@b', 'a/b', 'a b', '-', 'host:port', `${'a'.repeat(64)}.example`]) {
    show(setup, '0a', { dnsName });
    const { code, message } = await failureOf(open(setup));
    assert.equal(code, 'dial-failed', dnsName);
    assert.match(message, /no host name that can be used/);
  }
});

test('names the permission that a caller without access to endpoints needs', async (t: TestContext) => {
  const setup = await setUp(t);
  show(setup, '0a');
  const key = setup.cloud.accessKeys.get(demoAccessKey.id);
  assert.ok(key);
  const denied = ['ec2:DescribeInstanceConnectEndpoints'];
  setup.cloud.accessKeys.set(demoAccessKey.id, { ...key, denied });
  const { code, hint } = await failureOf(open(setup));
  assert.equal(code, 'aws-denied');
  assert.match(hint ?? '', /allow ec2:DescribeInstanceConnectEndpoints/);
});

test('the VM’s address and the endpoint’s name follow the IP address type of the endpoint', async (t) => {
  const both = { ipv4: '10.0.0.7', ipv6: '2001:db8::7' };
  const [v4, v6] = [
    { ipv4: '10.0.0.7', ipv6: undefined },
    { ipv4: undefined, ipv6: '2001:db8::7' },
  ];
  for (const [type, addresses, expected] of [
    [undefined, both, '10.0.0.7'],
    ['ipv4', both, '10.0.0.7'],
    ['dualstack', both, '10.0.0.7'],
    ['dualstack', v6, '2001:db8::7'],
    ['ipv6', both, '2001:db8::7'],
  ] as const) {
    const setup = await setUp(t);
    const more = type === undefined ? {} : { ipAddressType: type, dualstackDnsName: 'dual.example.com' };
    show(setup, '0a', more);
    const { host, searchParams } = new URL((await open(setup, addresses)).url);
    assert.equal(searchParams.get('privateIpAddress'), expected, `${type}`);
    assert.equal(host === 'dual.example.com', type === 'ipv6', `${type}: ${host}`);
  }
  for (const [type, addresses] of [
    ['ipv4', v6],
    ['ipv6', v4],
  ] as const) {
    const setup = await setUp(t);
    show(setup, '0a', { ipAddressType: type, dualstackDnsName: 'dual.example.com' });
    const { code, message } = await failureOf(open(setup, addresses));
    assert.equal(code, 'dial-failed');
    assert.match(message, new RegExp(`connects to ${type} addresses only`));
  }
});
