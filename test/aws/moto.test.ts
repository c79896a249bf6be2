/**
 * A login with moto as the cloud: another implementation of EC2, STS and Instance Connect than our stand-in. moto accepts a
 * pushed key and keeps it from the VM, so a relay in front of it hands the key to sshd. The VM's address is moto's invention;
 * ssh.toml names the real one.
 */
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { createServer, request, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { python, requirePackages } from '../clients/packages.ts';
import { type Child, freePort, loginUser, makeWorld, type World, waitFor } from '../openssh/world.ts';

/** What the program asked moto, and moto's status. */
interface Call {
  readonly operation: string;
  readonly status: number | undefined;
}

describe('a login with moto as the cloud', { timeout: 300_000 }, () => {
  let world: World;
  let moto: Child;
  let relay: Server;
  let environment: Record<string, string>;
  let instance: string;
  const calls: Call[] = [];

  before(async () => {
    requirePackages();
    world = await makeWorld({ vms: { dev: {} } });
    const port = await freePort();
    const env = { AWS_ENDPOINT_URL: undefined };
    const words = ['-m', 'moto.server', '-H', '127.0.0.1', '-p', String(port)];
    moto = world.start(python, words, { env, timeout: 300_000 });
    await moto.until(/Running on/, 60_000);
    relay = createServer((incoming, outgoing) => {
      const pieces: Buffer[] = [];
      incoming.on('data', (piece: Buffer) => pieces.push(piece));
      incoming.on('end', () => {
        const body = Buffer.concat(pieces);
        const { method, headers, url: path } = incoming;
        const forwarded = request({ host: '127.0.0.1', port, method, path, headers }, (reply) => {
          const operation = operationOf(headers['x-amz-target'], body);
          calls.push({ operation, status: reply.statusCode });
          if (operation === 'SendSSHPublicKey' && reply.statusCode === 200) authorize(body);
          outgoing.writeHead(reply.statusCode ?? 500, reply.headers);
          reply.pipe(outgoing);
        });
        forwarded.end(body);
      });
    });
    await new Promise<void>((resolve) => relay.listen(0, '127.0.0.1', resolve));
    environment = { AWS_ENDPOINT_URL: `http://127.0.0.1:${(relay.address() as AddressInfo).port}` };
    instance = await launch();
  });
  after(async () => {
    await world?.mint('agent', 'stop');
    relay?.closeAllConnections();
    relay?.close();
    moto?.kill();
    await moto?.done;
    await world?.end();
  });

  /** As the Instance Connect package on the VM gets it from the metadata service; the directory is the world's VM's. */
  function authorize(body: Buffer): void {
    const { InstanceOSUser: user, SSHPublicKey: key } = JSON.parse(body.toString()) as Record<string, string>;
    const file = join(world.directory, 'keys', world.vm('dev').instance, String(user));
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, `${key}\n`);
  }

  /** Launches an instance with Mint's tags, by boto3. @returns its id */
  async function launch(): Promise<string> {
    const script = `
import boto3
ec2 = boto3.client("ec2")
image = ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
tags = [{"Key": key, "Value": value} for key, value in (("Name", "motovm"), ("mint", "true"), ("mint:vm", "dev"))]
run = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1, InstanceType="t3.micro",
                        TagSpecifications=[{"ResourceType": "instance", "Tags": tags}])
print(run["Instances"][0]["InstanceId"])`;
    const { status, stdout, stderr } = await world.run(python, ['-c', script], {
      env: { ...environment, AWS_DEFAULT_REGION: world.environment['AWS_REGION'] },
      timeout: 60_000,
    });
    assert.equal(status, 0, stderr);
    return stdout.trim();
  }

  test('vms lists moto’s instance', async () => {
    const { status, stdout, stderr } = await world.run(world.program, ['vms'], { env: environment });
    assert.equal(status, 0, stderr);
    assert.match(stdout, new RegExp(instance));
  });

  test('ssh asks moto for the instance, sends it the key, and logs in; the second login asks for nothing', async () => {
    const { port } = world.vm('dev');
    const settings = `[vm.dev]\nhost = "127.0.0.1"\nport = ${port}\nuser = "${loginUser}"\ninstance = "${instance}"\n`;
    writeFileSync(join(world.configDir, 'ssh.toml'), settings, { mode: 0o600 });
    await world.mint('agent', 'stop');
    calls.length = 0;
    const login = () => world.startSsh(['dev', 'echo in'], { env: environment, timeout: 60_000 }).done;
    const first = await login();
    assert.deepEqual([first.status, first.stdout], [0, 'in\n'], first.stderr);
    await waitFor('the calls of the login', 15_000, () =>
      ['DescribeInstances', 'SendSSHPublicKey'].every((name) =>
        calls.some(({ operation }) => operation === name),
      ),
    );
    assert.deepEqual(
      calls.filter(({ status }) => status !== 200),
      [],
    );
    const pushes = () => calls.filter(({ operation }) => operation === 'SendSSHPublicKey').length;
    assert.equal(pushes(), 1);
    assert.equal((await login()).stdout, 'in\n');
    assert.equal(pushes(), 1);
  });

  test('an instance that moto does not have', async () => {
    const settings = `[vm.dev]\nuser = "${loginUser}"\ninstance = "i-0123456789abcdef0"\n`;
    writeFileSync(join(world.configDir, 'ssh.toml'), settings, { mode: 0o600 });
    await world.mint('agent', 'stop');
    const { status, stderr } = await world.startSsh(['dev', 'true'], { env: environment, timeout: 60_000 })
      .done;
    assert.equal(status, 255);
    assert.match(stderr, /\(vm-not-found\)/);
  });
});

function operationOf(target: string | string[] | undefined, body: Buffer): string {
  if (typeof target === 'string') return target.replace(/^.*\./, '');
  return new URLSearchParams(body.toString()).get('Action') ?? '';
}
