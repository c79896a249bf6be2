/** Several callers, each with AWS credentials of its own, and one agent: real ssh, from shells side by side. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { demoAccessKey, demoRegion } from '../cloud/cloud.ts';
import { type Machines, makeMachines, tags } from './machines.ts';
import { loginUser, makeWorld, mintProgram, type Result, type World } from './world.ts';

/** A role's keys, as the SSO portal returns them for an access token. */
interface RoleKeys {
  readonly id: string;
  readonly secret: string;
}

const sessionToken = 'sso-session-token';

/** https://docs.aws.amazon.com/singlesignon/latest/PortalAPIReference/API_GetRoleCredentials.html */
async function startPortal(keys: Readonly<Record<string, RoleKeys>>): Promise<Server> {
  const portal = createServer((message, response) => {
    const key = keys[String(message.headers['x-amz-sso_bearer_token'])];
    response.writeHead(key === undefined ? 401 : 200, {
      'content-type': 'application/json',
      ...(key === undefined ? { 'x-amzn-errortype': 'UnauthorizedException' } : {}),
    });
    const roleCredentials = key && {
      accessKeyId: key.id,
      secretAccessKey: key.secret,
      sessionToken,
      expiration: Date.now() + 3_600_000,
    };
    response.end(
      JSON.stringify(key === undefined ? { message: 'Session token not found' } : { roleCredentials }),
    );
  });
  await new Promise<void>((resolve) => portal.listen(0, '127.0.0.1', resolve));
  return portal;
}

const ssoConfig = `[default]
region = ${demoRegion}
[profile work]
sso_session = corp
sso_account_id = 123456789012
sso_role_name = dev
region = ${demoRegion}
[sso-session corp]
sso_start_url = https://corp.awsapps.com/start
sso_region = ${demoRegion}
`;
const ssoCache = `.aws/sso/cache/${createHash('sha1').update('corp').digest('hex')}.json`;
const processConfig = `[profile work]\nregion = ${demoRegion}\ncredential_process = cat "$HOME/keys.json"\n`;

describe('shells with different credentials at the same time', { timeout: 300_000 }, () => {
  let world: World;
  let portal: Server;
  const shells: Record<string, { readonly id: string; readonly env: Record<string, string | undefined> }> =
    {};

  before(async () => {
    const names = ['sso-anna', 'sso-bert', 'process-carl', 'process-dora', 'keys-eve', 'keys-fred'];
    world = await makeWorld({ vms: Object.fromEntries(['shared', ...names].map((name) => [name, {}])) });
    const keyOf = (name: string) => {
      const key = {
        id: `AKIA${name.replace('-', '').toUpperCase().padEnd(16, 'X')}`,
        secret: `secret-of-${name}-${'x'.repeat(20)}`,
      };
      world.cloud.accessKeys.set(key.id, {
        secret: key.secret,
        ...(name.startsWith('sso') ? { sessionToken } : {}),
      });
      return key;
    };
    const [anna, bert, carl, dora, eve, fred] = names.map(keyOf) as [
      RoleKeys,
      RoleKeys,
      RoleKeys,
      RoleKeys,
      RoleKeys,
      RoleKeys,
    ];
    portal = await startPortal({ 'token-anna': anna, 'token-bert': bert });
    const sso = `http://127.0.0.1:${(portal.address() as AddressInfo).port}`;

    /** A shell in a home of its own, where credentials are found; the environment has none. */
    const atHome = (name: string, id: string, files: Readonly<Record<string, string>>) => {
      const home = join(world.directory, `home-${name}`);
      for (const [file, text] of Object.entries(files)) {
        mkdirSync(dirname(join(home, file)), { recursive: true });
        writeFileSync(join(home, file), text, { mode: 0o600 });
      }
      const none = { AWS_ACCESS_KEY_ID: undefined, AWS_SECRET_ACCESS_KEY: undefined, AWS_REGION: undefined };
      const files2 = { AWS_CONFIG_FILE: undefined, AWS_SHARED_CREDENTIALS_FILE: undefined };
      const env = { ...none, ...files2, HOME: home, AWS_PROFILE: 'work', AWS_ENDPOINT_URL_SSO: sso };
      shells[name] = { id, env };
    };
    const token = (accessToken: string, milliseconds: number) =>
      JSON.stringify({ accessToken, expiresAt: new Date(Date.now() + milliseconds).toISOString() });
    const process = ({ id, secret }: RoleKeys) =>
      JSON.stringify({ Version: 1, AccessKeyId: id, SecretAccessKey: secret });
    atHome('sso-anna', anna.id, { '.aws/config': ssoConfig, [ssoCache]: token('token-anna', 3_600_000) });
    atHome('sso-bert', bert.id, { '.aws/config': ssoConfig, [ssoCache]: token('token-bert', 3_600_000) });
    atHome('sso-expired', '', { '.aws/config': ssoConfig, [ssoCache]: token('token-anna', -1000) });
    atHome('process-carl', carl.id, { '.aws/config': processConfig, 'keys.json': process(carl) });
    atHome('process-dora', dora.id, { '.aws/config': processConfig, 'keys.json': process(dora) });
    for (const [name, { id, secret }] of Object.entries({ 'keys-eve': eve, 'keys-fred': fred })) {
      shells[name] = { id, env: { AWS_ACCESS_KEY_ID: id, AWS_SECRET_ACCESS_KEY: secret } };
    }
  });
  after(async () => {
    portal.close();
    portal.closeAllConnections();
    await world.end();
  });

  const login = (shell: string, vm: string): Promise<Result> =>
    world.startSsh([vm, 'true'], { env: shells[shell]?.env ?? {} }).done;

  /** Each logs in to a VM of its own and to one that all share, all of them at once. */
  async function logInTogether(...names: string[]): Promise<void> {
    const before = world.cloud.pushes.length;
    const results = await Promise.all(names.flatMap((name) => [login(name, name), login(name, 'shared')]));
    for (const { status, stderr } of results) assert.equal(status, 0, stderr);
    assert.equal(world.agents().length, 1);
    const keysFor = (vm: string) => {
      const { instance } = world.vm(vm);
      const pushes = world.cloud.pushes.slice(before).filter((push) => push.instance === instance);
      return [...new Set(pushes.map(({ accessKeyId }) => accessKeyId))].sort();
    };
    for (const name of names) assert.deepEqual(keysFor(name), [shells[name]?.id], name);
    assert.deepEqual(keysFor('shared'), names.map((name) => shells[name]?.id).sort());
  }

  test('each uses its own keys through one agent', async () => {
    await logInTogether('keys-eve', 'keys-fred');
  });

  test('SSO caches found by HOME stay apart, and only the shell with the expired one fails', async () => {
    const expired = login('sso-expired', 'shared');
    await logInTogether('sso-anna', 'sso-bert');
    const { status, stderr } = await expired;
    assert.equal(status, 255);
    assert.match(stderr, /\(aws-credentials\)\n.*aws sso login --profile work/);
  });

  test('keys that a credential_process finds by HOME stay apart', async () => {
    await logInTogether('process-carl', 'process-dora');
  });
});

describe('two accounts with a VM of one name', { timeout: 300_000 }, () => {
  let machines: Machines;
  const account = '999988887777';
  const secret = 'another/secret/another/secret/another/sec';
  const theirs = { AWS_ACCESS_KEY_ID: 'AKIAANOTHERANOTHERAN', AWS_SECRET_ACCESS_KEY: secret };
  before(async () => {
    machines = await makeMachines();
    const arn = `arn:aws:iam::${account}:user/${demoAccessKey.id.toLowerCase()}`;
    machines.world.cloud.accessKeys.set(theirs.AWS_ACCESS_KEY_ID, { secret, arn, account });
  });
  after(() => machines.end());

  /** EC2 shows a caller the instances of their own account alone. */
  const showOnly = (id: string, hidden: string) => {
    machines.change(hidden, { state: 'terminated' });
    machines.change(id, { state: 'running' });
  };
  const as = (env: Record<string, string>, vm: string, command = 'echo $MACHINE') =>
    machines.world.startSsh([vm, command], { env }).done;

  test('are named in the warning: the key is not accepted as a recreated VM, and the pinned one still works', async () => {
    const { world } = machines;
    const own = await machines.add('127.0.0.71', tags('dev'));
    const other = await machines.add('127.0.0.72', { ...tags('dev'), account, state: 'terminated' });
    const config = await world.mint('ssh-config', '--yes', '--file', world.sshConfigFile);
    assert.equal(config.status, 0, config.stderr);
    assert.equal((await as({}, 'dev')).stdout.trim(), own.id);
    const pinned = world.file('known_hosts');

    showOnly(other.id, own.id);
    const { status, stderr } = await as(theirs, 'dev');
    assert.equal(status, 255);
    const words = stderr.replaceAll(/\s+/g, ' ');
    assert.match(
      words,
      new RegExp(
        `Two VMs are called dev: the pinned key is the one of ${own.id} in 123456789012 \\(us-east-1\\), and this is ${other.id} in ${account}`,
      ),
    );
    assert.match(
      words,
      /A name belongs to one AWS account and region at a time\. To use both VMs, do not accept/,
    );
    assert.doesNotMatch(words, /mint recreate/);
    assert.match(
      stderr,
      /\(host-key-changed\)\n.*another VM of that name; .*\[vm\.NAME\] with instance = "i-/,
    );
    assert.equal(other.sshd.accepted(), 0);
    assert.equal(world.file('known_hosts'), pinned);

    // What the hint says: a name of its own in ssh.toml.
    const port = `port = ${machines.port}`;
    await world.settings([port, `user = "${loginUser}"`, `[vm.other-dev]\ninstance = "${other.id}"`]);
    const login = await world.run(mintProgram, ['ssh', 'other-dev', '--', 'echo $MACHINE'], { env: theirs });
    assert.equal(login.stdout.trim(), other.id, login.stderr);
    showOnly(own.id, other.id);
    assert.equal((await as({}, 'dev')).stdout.trim(), own.id);
  });

  test('audit.log names the caller of each login, if AWS was asked for it', async () => {
    const lines = (machines.world.file('audit.log') ?? '')
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, string | null>);
    const arns = (vm: string, event: string) =>
      new Set(
        lines
          .filter((line) => line['vm_name'] === vm && line['event'] === event)
          .map((line) => line['caller_arn']),
      );
    const id = demoAccessKey.id.toLowerCase();
    assert.deepEqual(arns('dev', 'login'), new Set([`arn:aws:iam::123456789012:user/${id}`]));
    assert.deepEqual(arns('dev', 'host-key-changed'), new Set([`arn:aws:iam::${account}:user/${id}`]));
    // The agent does not ask AWS only for an audit line: ssh.toml has the instance, and the same caller asked STS before.
    assert.deepEqual(arns('other-dev', 'login'), new Set([`arn:aws:iam::${account}:user/${id}`]));
  });
});
