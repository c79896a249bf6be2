/** Which of a VM's addresses is dialled, and the next one if it does not answer. */
import assert from 'node:assert/strict';
import { networkInterfaces } from 'node:os';
import { after, before, describe, test } from 'node:test';
import type { Instance } from '../../src/demo/instance.ts';
import type { Endpoint } from '../cloud/endpoint.ts';
import { type Machine, type Machines, makeMachines, tags } from './machines.ts';
import { mute } from './mute.ts';
import { addEndpoint, trusted } from './private-vm.ts';
import { type Result, type World, waitFor } from './world.ts';

const hasIpv6 = Object.values(networkInterfaces()).some((all) =>
  all?.some(({ address }) => address === '::1'),
);

const ownRoutes = [
  ['inside', 'route = "private"'],
  ['outside', 'route = "public"'],
  ['hidden', 'route = "endpoint"\nport = 22'],
  ['far', 'port = 22'],
  ['shut', 'port = 22'],
  ['gone', 'port = 22'],
  ['named', 'host = "localhost"\nroute = "auto"'],
].map(([name, line]) => `[vm.${name}]\n${line}`);

describe('the route to a VM', { timeout: 300_000 }, () => {
  let machines: Machines;
  let world: World;
  let endpoint: Endpoint;
  let next = 40;
  const ends: (() => void)[] = [];
  before(async () => {
    machines = await makeMachines(ownRoutes, trusted);
    ({ world } = machines);
    endpoint = await addEndpoint(machines);
  });
  after(async () => {
    for (const end of ends) end();
    await machines.end();
    await endpoint.close();
  });

  /** An address of loopback that no other test has. */
  const address = () => `127.0.0.${next++}`;

  async function silent(): Promise<string> {
    const host = address();
    ends.push(await mute(world, host, machines.port));
    return host;
  }

  /** An sshd at `host`, which EC2 shows as `instance` says. */
  const add = (name: string, host: string, instance: Partial<Instance>) =>
    machines.add(host, { ...tags(name), ...instance });

  const login = (name: string): Promise<Result> =>
    world.mint('--verbose', 'ssh', name, '--', 'echo at $MACHINE');

  async function reaches(name: string, { id }: Machine): Promise<Result> {
    const result = await login(name);
    assert.equal(result.status, 0, result.stderr);
    assert.equal(result.stdout.trim(), `at ${id}`);
    return result;
  }

  async function fails(name: string, ...patterns: RegExp[]): Promise<void> {
    const { status, stderr } = await login(name);
    assert.equal(status, 255, stderr);
    for (const pattern of patterns) assert.match(stderr, pattern);
  }

  const askedForEndpoints = () =>
    world.cloud.requests.filter(({ operation }) => operation === 'DescribeInstanceConnectEndpoints').length;

  test('is the public address if that answers, and no other is tried', async () => {
    const publicIp = address();
    const dev = await add('dev', publicIp, { publicIp, privateIp: address() });
    const inside = await add('bystander', machines.world.cloud.instances.get(dev.id)?.privateIp ?? '', {});
    const { stderr } = await reaches('dev', dev);
    assert.match(stderr, new RegExp(`connected to dev at ${publicIp}\n`));
    assert.equal(askedForEndpoints(), 0);
    assert.doesNotMatch(inside.sshd.log(), /Connection from/);
  });

  test('is the private address if the public one does not answer, without waiting for its time-out', async () => {
    const [publicIp, privateIp] = [await silent(), address()];
    const dev = await add('vpn', privateIp, { publicIp, privateIp });
    // A time-out would have used up all the time that dialling has: there would be no login at all.
    const { stderr } = await reaches('vpn', dev);
    assert.match(stderr, new RegExp(`connected to vpn at ${privateIp}\n`));
  });

  test('is the endpoint if neither answers', async () => {
    const privateIp = await silent();
    const dev = await add('far', address(), { publicIp: await silent(), privateIp });
    const { stderr } = await reaches('far', dev);
    assert.match(
      stderr,
      new RegExp(`connected to far at ${privateIp}, through an EC2 Instance Connect Endpoint`),
    );
    assert.deepEqual(endpoint.faults, []);
  });

  test('is the endpoint at once if the addresses refuse', async () => {
    const [publicIp, privateIp] = [address(), address()];
    const dev = await add('shut', address(), { publicIp, privateIp });
    assert.match((await reaches('shut', dev)).stderr, /through an EC2 Instance Connect Endpoint/);
  });

  test('through an endpoint is refused before the tunnel is opened unless sshd is on port 22 or 3389', async () => {
    const before = askedForEndpoints();
    machines.show({ ...tags('mint'), publicIp: null, privateIp: address() });
    await world.settings([`port = ${machines.port}`, 'route = "endpoint"']);
    await fails(
      'mint',
      /an EC2 Instance Connect Endpoint reaches ports 22 and 3389 only, and the sshd of mint is on port \d+ \(dial-failed\)/,
      /hint: let sshd listen on port 22 too and set port = 22 for \[vm\.mint\] in ssh\.toml/,
    );
    assert.equal(askedForEndpoints(), before);
    await world.settings([`port = ${machines.port}`, `user = "${world.environment['USER']}"`, ...ownRoutes]);
  });

  test('without success: the error lists everything that was tried', async () => {
    const [publicIp, privateIp] = [address(), address()];
    machines.show({ ...tags('gone'), publicIp, privateIp, vpc: 'vpc-0d3f00000000000ff' });
    await fails(
      'gone',
      new RegExp(
        `cannot reach gone: at ${publicIp} port \\d+: connection refused; at ${privateIp} port \\d+: connection refused; ` +
          'vpc-0d3f00000000000ff has no EC2 Instance Connect Endpoint \\(dial-failed\\)',
      ),
      /the VM may still be booting/,
    );
  });

  test('is the one in ssh.toml if set: private, public or endpoint', async () => {
    const [publicIp, privateIp] = [address(), address()];
    const [inside, stranger] = [
      await add('inside', privateIp, { publicIp, privateIp }),
      await add('stranger', publicIp, {}),
    ];
    await reaches('inside', inside);
    const before = stranger.sshd.log().length;
    const hidden = await add('hidden', address(), { publicIp, privateIp: address() });
    await reaches('hidden', hidden);
    assert.equal(stranger.sshd.log().length, before);
    machines.show({ ...tags('outside'), publicIp: null, privateIp });
    await fails('outside', /outside \(i-\w+\) has no public address \(dial-failed\)/, /set route/);
  });

  test('through a missing endpoint: the hint creates one', async () => {
    machines.change(
      [...world.cloud.instances.values()].find(({ tags: all }) => all?.['mint:vm'] === 'hidden')?.id ?? '',
      {
        vpc: 'vpc-0d3f00000000000ee',
      },
    );
    await world.mint('agent', 'stop');
    await world.mint('vms', '--refresh');
    await fails(
      'hidden',
      /vpc-0d3f00000000000ee has no EC2 Instance Connect Endpoint \(dial-failed\)/,
      /aws ec2 create-instance-connect-endpoint --subnet-id subnet-0d3f0000000000001 --region us-east-1/,
    );
  });

  test('of a host name is the first of its addresses that answers', async () => {
    const vm = await add('named', '127.0.0.1', {});
    await reaches('named', vm);
  });

  test('may be an IPv6 address, after an IPv4 one that does not answer or beside none', {
    skip: hasIpv6 ? false : 'this machine has no ::1',
  }, async () => {
    const vm = await add('six', '::1', { publicIp: await silent(), ipv6: '::1' });
    assert.match((await reaches('six', vm)).stderr, /connected to six at ::1\n/);
    machines.change(vm.id, { publicIp: null });
    await world.mint('agent', 'stop');
    await world.mint('vms', '--refresh');
    await reaches('six', vm);
  });

  test('to a stopped VM that only an endpoint reaches is open once its sshd has started', async () => {
    const privateIp = address();
    const vm = await add('sleeper', address(), { publicIp: null, privateIp, state: 'stopped' });
    await world.settings([
      'port = 22',
      `user = "${world.environment['USER']}"`,
      'start = "always"',
      'route = "endpoint"',
    ]);
    await vm.sshd.stop();
    const before = endpoint.opened;
    const logsIn = reaches('sleeper', vm);
    await waitFor('the first attempt', 20_000, () => endpoint.opened > before);
    await vm.sshd.start();
    await logsIn;
    assert.equal(world.cloud.instances.get(vm.id)?.state, 'running');
    await waitFor('the tunnel to end', 15_000, () => endpoint.tunnels.length === 0);
  });
});
