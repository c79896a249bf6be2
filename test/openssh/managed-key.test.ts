/** A VM with a managed key (`keys`): the agent serves it, and nothing is pushed. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Duplex } from 'node:stream';
import { after, before, describe, test } from 'node:test';
import ssh2 from 'ssh2';
import {
  Host,
  keyClient,
  keyPath,
  type LoginFields,
  loginData,
  newSession,
  proxyConnection,
  signed,
} from '../agent/clients.ts';
import { MovableClock } from './faketime.ts';
import { loginUser, makeWorld, mintProgram, type World, waitFor } from './world.ts';

const askpass = join(import.meta.dirname, '../cli/programs/askpass.sh');
const passphrase = 'correct horse battery';

describe('managed keys', () => {
  let world: World;
  const instance = 'i-0123456789abcdef0';
  /** An environment without AWS credentials. */
  const withoutAws = {
    AWS_ACCESS_KEY_ID: undefined,
    AWS_SECRET_ACCESS_KEY: undefined,
    AWS_REGION: undefined,
  };

  const keys = async (...words: readonly string[]): Promise<string> => {
    const { status, stdout, stderr } = await world.mint('keys', ...words);
    assert.equal(status, 0, stderr);
    return stdout;
  };

  const lab = (name: string, access: string, more = ''): string =>
    `[vm.${name}]\nhost = "127.0.0.1"\nport = ${world.vm('dev').port}\nuser = "${loginUser}"\naccess = "${access}"\n${more}`;

  /** An askpass program that says these words, one after the other, and the file in which it leaves what it was asked. */
  const asks = (words: string, log: string) => ({
    SSH_ASKPASS: askpass,
    SSH_ASKPASS_REQUIRE: 'force',
    ASKPASS: words,
    ASKPASS_LOG: join(world.directory, log),
  });

  const timesAsked = (log: string): number =>
    readFileSync(join(world.directory, log), 'utf8')
      .split('\n')
      .filter((line) => /^\[hint/.test(line)).length;

  const unlocked = async (): Promise<readonly string[]> => {
    const { stdout } = await world.mint('agent', 'status', '--json');
    return (JSON.parse(stdout) as { unlocked_keys: string[] }).unlocked_keys;
  };

  const logsIn = async (vm: string, env: Readonly<Record<string, string | undefined>> = withoutAws) => {
    const { status, stdout, stderr } = await world.startSsh([vm, 'echo hello'], { env }).done;
    assert.deepEqual([status, stdout], [0, 'hello\n'], stderr);
  };

  before(async () => {
    world = await makeWorld();
    world.cloud.instances.set(instance, {
      id: instance,
      region: 'us-east-1',
      state: 'running',
      address: '127.0.0.1',
      keyName: 'cws-research-us-east-1',
    });
    await keys('create', 'ed');
    await keys('create', 'rsa', '--type', 'rsa-2048');
    await keys('create', 'ec', '--type', 'ecdsa-p256');
    await keys('create', 'stranger');
    await keys('create', 'research', '--region', 'us-east-1');
    const file = join(world.directory, 'locked');
    const made = await world.run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', passphrase, '-f', file]);
    assert.equal(made.status, 0, made.stderr);
    const imported = await world.run(mintProgram, ['keys', 'import', 'locked', '--key-file', file], {
      env: asks(passphrase, 'import.log'),
    });
    assert.equal(imported.status, 0, imported.stderr);
    const lines = await Promise.all(
      ['ed', 'rsa', 'ec', 'research', 'locked'].map((profile) => keys('public', profile)),
    );
    const authorized = join(world.directory, 'keys', world.vm('dev').instance);
    mkdirSync(authorized, { recursive: true });
    writeFileSync(join(authorized, loginUser), lines.join(''));
    await world.settings([
      'key_lifetime = "10m"',
      lab('lab-ed', 'key:ed'),
      lab('lab-rsa', 'key:RSA'),
      lab('lab-ec', 'key:ec'),
      lab('stranger', 'key:stranger'),
      lab('forged', 'key:ed', 'verify = "tofu"'),
      lab('nobody', 'key:nobody'),
      lab('locked', 'key:locked'),
      `[vm.launched]\ninstance = "${instance}"\nport = ${world.vm('dev').port}\nuser = "${loginUser}"`,
      lab('pushed', 'instance-connect', `instance = "${instance}"`),
    ]);
  });
  after(() => world.end());

  test('log in to machines outside AWS, with every type of key and without credentials', async () => {
    const before = world.cloud.requests.length;
    for (const vm of ['lab-ed', 'lab-rsa', 'lab-ec']) await logsIn(vm);
    assert.equal(world.cloud.requests.length, before);
    const { stdout } = await world.mint('hosts', 'show', 'lab-rsa');
    assert.match(stdout, /SHA256:/);
    const doctor = await world.run(mintProgram, ['doctor', 'lab-ed'], { env: withoutAws });
    assert.match(doctor.stdout, /^- +aws +not checked: a login to this VM needs no AWS calls/m);
    assert.match(doctor.stdout, /^ok +login /m);
    assert.equal(world.cloud.requests.length, before);
  });

  test('are recorded with the time and machine of their last use', async () => {
    await logsIn('lab-ed');
    await waitFor('the note', 15_000, () => /"lab-ed"/.test(world.file('keys/metadata.json') ?? ''));
    const { vms } = JSON.parse(await keys('show', 'ed', '--json')) as { vms: unknown };
    assert.match(JSON.stringify(vms), /lab-ed/);
    assert.match(world.file('keys/.mint-ssh/state.json') ?? '', /"name": "lab-ed",[^}]*"last_used": "\d{4}-/);
  });

  test('are found by the KeyName of the instance without settings; nothing is pushed once they are proved', async () => {
    await logsIn('launched', {});
    await waitFor(
      'the note',
      15_000,
      () => world.file('keys/.mint-ssh/state.json')?.includes(instance) === true,
    );
    const before = world.cloud.pushes.length;
    await logsIn('launched', {});
    assert.equal(world.cloud.pushes.length, before);
  });

  test('do not override ssh.toml', async () => {
    const { stderr } = await world.startSsh(['pushed', 'true']).done;
    assert.ok(
      world.cloud.pushes.some((push) => push.instance === instance),
      stderr,
    );
  });

  test('are listed before the proxy starts, and sign only for the host and user of one of our connections', async () => {
    const [, base64 = ''] = (await keys('public', 'ed')).split(' ');
    const blob: Buffer = Buffer.from(base64, 'base64');
    const [host, session] = [new Host(), newSession()];
    const client = await keyClient(keyPath(world, 'forged'));
    const isSigned = async (fields: Partial<LoginFields>, key = blob) =>
      (await client.sign(key, loginData({ session, key, ...fields }))) === signed;
    assert.deepEqual(await client.list(), [blob]);
    assert.equal(await isSigned({}), false);
    const control = await proxyConnection(world, 'forged', host, session);
    assert.deepEqual(await client.list(), [blob]);
    assert.equal(await isSigned({ session: newSession() }), false);
    assert.equal(await isSigned({ user: 'somebody' }), false);
    assert.equal(await isSigned({}, new Host().blob), false);
    assert.equal(await isSigned({}), true);
    await control.close();
    assert.equal(await isSigned({}), false);
    client.close();
  });

  test('serve clients that know neither session-bind nor our config: paramiko and ssh2, with RSA', async () => {
    const env = { ...withoutAws, SSH_AUTH_SOCK: keyPath(world, 'lab-rsa') };
    const config = join(world.configDir, 'ssh_config');
    const program = join(import.meta.dirname, '../clients/programs/paramiko-login.py');
    const { stdout, stderr } = await world.run('/usr/bin/python3', [program, config, 'lab-rsa', 'echo in'], {
      env,
    });
    assert.equal(stdout, 'in\n', stderr);
    const child = spawn(mintProgram, ['proxy', 'lab-rsa'], {
      env: world.environment,
      stdio: ['pipe', 'pipe', 'ignore'],
    });
    const sock = Duplex.from({ writable: child.stdin, readable: child.stdout });
    const ssh2Client = new ssh2.Client();
    await new Promise<void>((resolve, reject) => {
      ssh2Client.once('ready', resolve).once('error', reject);
      ssh2Client.connect({ sock, username: loginUser, agent: keyPath(world, 'lab-rsa') });
    });
    ssh2Client.end();
  });

  test('that the VM refuses, or that do not exist, cause an error with a remedy', async () => {
    const refused = await world.startSsh(['stranger', 'true'], { env: withoutAws }).done;
    assert.match(refused.stderr, /refused the managed key stranger, .* \(login-refused\)/);
    assert.match(refused.stderr, /mint-ssh keys public stranger/);
    const absent = await world.startSsh(['nobody', 'true'], { env: withoutAws }).done;
    assert.match(absent.stderr, /no key named "nobody".* \(key-not-found\)/);
    assert.match(absent.stderr, /mint-ssh keys attach nobody nobody/);
  });

  test('with a passphrase ask for it once, then stay unlocked for key_lifetime and no longer', async () => {
    await world.mint('agent', 'stop');
    await waitFor('the agent to end', 15_000, () => world.agents().length === 0);
    const clock = new MovableClock(join(world.home, '.faketimerc'));
    const agent = world.start(mintProgram, ['agent'], { env: clock.environment, timeout: 120_000 });
    await agent.until(/the agent listens on /);
    const nobody = await world.startSsh(['locked', 'true'], { env: { SSH_ASKPASS: '' } }).done;
    assert.match(nobody.stderr, /has a passphrase, and there is no terminal to ask on \(key-passphrase\)/);
    // Wrong at first; then two at once are asked once.
    await logsIn('locked', asks(`wrong,${passphrase}`, 'first.log'));
    assert.equal(timesAsked('first.log'), 2);
    assert.deepEqual(await unlocked(), ['locked']);
    await Promise.all([logsIn('locked', { SSH_ASKPASS: '' }), logsIn('locked', { SSH_ASKPASS: '' })]);
    clock.set(9 * 60);
    for (const _ of [1, 2]) assert.deepEqual(await unlocked(), ['locked']);
    clock.set(10 * 60);
    await waitFor('the key to be locked', 15_000, async () => (await unlocked()).length === 0);
    // And again on a terminal, which does not echo it.
    const command = `ssh -F ${world.sshConfigFile} locked 'echo hello'`;
    const terminal = world.start('script', ['-qec', command, '/dev/null'], {
      holdInput: true,
      env: { ...withoutAws, TERM: 'xterm' },
    });
    await terminal.until(/Passphrase of the key locked: /, 20_000);
    terminal.stdin.write(`${passphrase}\r`);
    await terminal.until(/hello/, 20_000);
    terminal.stdin.end();
    const { stdout } = await terminal.done;
    assert.ok(!stdout.includes(passphrase), stdout);
    const written = await world.run('grep', ['-rlF', passphrase, world.configDir]);
    assert.equal(written.stdout, '');
  });
});
