/** `mint-ssh doctor VM`: each check of a VM with its subject broken. */
import assert from 'node:assert/strict';
import { readFileSync, renameSync, statSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { stripVTControlCharacters } from 'node:util';
import { demoAccessKey } from '../cloud/cloud.ts';
import { freePort, loginUser, makeWorld, type World } from '../openssh/world.ts';
import { doctor } from './told.ts';

describe('a VM with a problem', { timeout: 300_000 }, () => {
  let world: World;
  let server: net.Server;
  let greeting: string | undefined;
  before(async () => {
    server = net.createServer((client) => {
      client.on('error', () => {});
      if (greeting !== undefined) client.end(greeting);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as net.AddressInfo;
    world = await makeWorld({ vms: { dev: {}, closed: { port: await freePort() }, odd: { port } } });
  });
  after(async () => {
    server.close();
    await world.end();
  });

  function instanceOf(name: string, state: 'running' | 'stopped', tags: Record<string, string> = {}): void {
    const { instance } = world.vm(name);
    const known = world.cloud.instances.get(instance);
    assert.ok(known);
    world.cloud.instances.set(instance, { ...known, state, tags });
  }

  function denied(...actions: string[]): void {
    world.cloud.accessKeys.set(demoAccessKey.id, { secret: demoAccessKey.secret, denied: actions });
  }

  test('stopped: the hint has the command that starts it, and no login is tried', async () => {
    instanceOf('dev', 'stopped');
    const { of, hint } = await doctor(world, ['dev']);
    const { instance } = world.vm('dev');
    assert.equal(of('instance'), `fail: ${instance} is stopped`);
    assert.equal(hint('instance'), 'mint-ssh start dev');
    assert.equal(of('login'), 'not-checked: not checked: the instance is stopped');
    assert.match(of('actions'), /^not-checked: not checked: \S+SendSSHPublicKey: no login succeeded$/m);
    assert.ok(!world.cloud.requests.some(({ operation }) => operation === 'StartInstances'));
    instanceOf('dev', 'running', { 'mint:bootstrap': 'failed' });
    assert.match(
      (await doctor(world, ['dev'])).of('instance'),
      /^ok: .*\nwarn: Mint's setup of it is failed/,
    );
    instanceOf('dev', 'running');
  });

  test('an instance that does not exist', async () => {
    const { instance } = world.vm('closed');
    const known = world.cloud.instances.get(instance);
    world.cloud.instances.delete(instance);
    const { of } = await doctor(world, ['closed']);
    assert.equal(of('instance'), `fail: ${instance} does not exist there`);
    assert.equal(of('login'), 'not-checked: not checked: the instance does not exist');
    if (known !== undefined) world.cloud.instances.set(instance, known);
  });

  test('names actions that IAM denies: the push as a failure, the others as warnings', async () => {
    denied('ec2:DescribeInstances', 'ec2:GetConsoleOutput');
    const reading = await doctor(world, ['dev']);
    assert.match(
      reading.of('actions'),
      /^warn: ec2:DescribeInstances is denied.*\nwarn: ec2:GetConsoleOutput is denied/m,
    );
    assert.match(reading.of('instance'), /^warn: .*\(aws-denied\)/);
    assert.match(reading.of('login'), /^ok: /);
    denied('ec2-instance-connect:SendSSHPublicKey');
    // An earlier push would still be valid.
    assert.equal((await world.mint('agent', 'stop')).status, 0);
    const pushing = await doctor(world, ['dev']);
    assert.match(pushing.of('actions'), /^fail: ec2-instance-connect:SendSSHPublicKey is denied/);
    assert.match(pushing.of('login'), /^fail: .*\(aws-denied\)/);
    denied();
  });

  test('a closed port', async () => {
    const { of, hint } = await doctor(world, ['closed']);
    assert.match(of('address'), /^fail: 127\.0\.0\.1 port \d+ cannot be reached: ECONNREFUSED/);
    assert.match(hint('address'), /the VM may still be booting/);
    assert.equal(of('banner'), '');
    assert.equal(of('login'), 'not-checked: not checked: the VM cannot be reached');
  });

  test('a server that does not speak SSH, and a silent one while AWS does not answer', async () => {
    greeting = 'HTTP/1.1 400 Bad Request\r\n\r\n\u001b[31m';
    const http = await doctor(world, ['odd']);
    assert.match(http.of('banner'), /^fail: not an SSH server: it sent "HTTP\/1\.1 400/);
    assert.ok(!http.of('banner').includes('\u001b'));
    greeting = undefined;
    world.cloud.faults.hang();
    const silent = await doctor(world, ['odd']);
    assert.match(silent.of('banner'), /^fail: .*: it sent nothing/);
    assert.match(silent.of('credentials'), /^fail: /);
    assert.match(silent.of('login'), /^fail: /);
    assert.ok(silent.milliseconds < 60_000, `took ${silent.milliseconds} ms`);
    world.cloud.faults.hang(false);
  });

  test('a login that sshd refuses', async () => {
    const text = world.file('ssh.toml') ?? '';
    writeFileSync(join(world.configDir, 'ssh.toml'), text.replace(/user = "\w+"/, 'user = "nosuchuser"'));
    const { of, hint } = await doctor(world, ['dev']);
    assert.match(of('login'), /^fail: .*\(login-refused\)|^fail: .*Permission denied/);
    assert.notEqual(hint('login'), '');
    writeFileSync(join(world.configDir, 'ssh.toml'), text);
  });

  test('a changed host key, until a login shows the pinned one again', async () => {
    assert.match((await doctor(world, ['dev'])).of('pin'), /^ok: SHA256:/);
    const [ours, theirs] = ['ssh_host_ed25519_key', 'ssh_host_ed25519_key.pub'].map((name) =>
      join(world.directory, 'vm-dev', name),
    ) as [string, string];
    for (const path of [ours, theirs]) writeFileSync(`${path}.kept`, readFileSync(path), { mode: 0o600 });
    await world.sshd('dev').replaceHostKey();
    const { fingerprint } = world.sshd('dev').hostKey;
    const changed = await doctor(world, ['dev']);
    assert.match(changed.of('login'), /^fail: .*\(host-key-changed\)/);
    assert.match(changed.of('pin'), /^ok: SHA256:.*\nfail: another key was blocked at /);
    assert.ok(changed.hint('pin').includes(`mint-ssh hosts accept dev ${fingerprint}`));

    await world.sshd('dev').stop();
    for (const path of [ours, theirs]) renameSync(`${path}.kept`, path);
    await world.sshd('dev').start();
    const back = await doctor(world, ['dev']);
    assert.match(back.of('login'), /^ok: /);
    assert.match(back.of('pin'), /^warn: another key was blocked at .*, and logins since then/m);
  });

  test('a pin that differs between Mint and our record, is lost, malformed, or of another instance', async () => {
    const file = join(world.configDir, 'known_hosts');
    const record = join(world.configDir, 'hosts/dev.json');
    const [text, recorded] = [readFileSync(file, 'utf8'), readFileSync(record, 'utf8')];
    const pin = async (content: string) => {
      writeFileSync(file, content);
      return (await doctor(world, [])).of('pin of dev');
    };
    assert.match(
      await pin(`dev=SHA256:${'A'.repeat(43)}\n`),
      /^ok: SHA256:A+, written by Mint\n(?:.*\n)?warn: known_hosts has SHA256:A+, our record has SHA256:/,
    );
    assert.match(await pin(''), /^warn: the line in known_hosts is missing/);
    assert.match(await pin('dev=\n'), /^fail: known_hosts line 1: .*\(known-hosts-corrupt\)/);
    assert.match(await pin('dev=\0\n'), /^fail: .*\(known-hosts-corrupt\)/);
    writeFileSync(record, recorded.replace(/"instance": "i-\w+"/g, '"instance": "i-0fedcba9876543210"'));
    assert.match(await pin(text), /^warn: the key was pinned on i-0fedcba9876543210, and ssh\.toml has i-/m);
    writeFileSync(record, recorded);
  });

  test('a misspelt VM: checks that were not made are not ok', async () => {
    const { of, status } = await doctor(world, ['nosuch']);
    assert.equal(status, 1);
    assert.match(of('instance'), /^fail: .*nosuch \(vm-not-found\)/);
    for (const check of ['address', 'login', 'pin']) assert.match(of(check), /^not-checked: not checked: /);
    assert.match(of('actions'), /^not-checked: .*SendSSHPublicKey: no login succeeded$/m);
    assert.match(of('actions'), /^not-checked: .*GetConsoleOutput: no instance to ask about/m);
  });

  test('reports no action as allowed without credentials', async () => {
    const { of } = await doctor(world, ['dev'], { AWS_ACCESS_KEY_ID: '', AWS_SECRET_ACCESS_KEY: '' });
    assert.match(of('credentials'), /^fail: .*\(aws-credentials\)/);
    assert.match(of('actions'), /^not-checked: .*DescribeInstances: AWS could not be asked/m);
    assert.doesNotMatch(of('actions'), /is allowed/);
  });

  test('the wrong port: names the usual port that answers', async () => {
    const text = world.file('ssh.toml') ?? '';
    const port = await freePort();
    writeFileSync(join(world.configDir, 'ssh.toml'), text.replace(/port = \d+/, `port = ${port}`));
    const server22 = net.createServer((client) => client.end('SSH-2.0-x\r\n'));
    const listens = await new Promise<boolean>((resolve) => {
      server22.once('error', () => resolve(false)).listen(41_122, '127.0.0.1', () => resolve(true));
    });
    const { of, hint } = await doctor(world, ['dev']);
    server22.close();
    writeFileSync(join(world.configDir, 'ssh.toml'), text);
    if (!listens) return;
    assert.match(of('address'), /^fail: .*ECONNREFUSED; an SSH server answers on port 41122$/);
    assert.match(hint('address'), /^set port = 41122 for \[vm\.dev\] in ssh\.toml/);
  });

  test('--report: the missing policy for the administrator, with account and region, and no secret', async () => {
    denied('ec2-instance-connect:SendSSHPublicKey', 'ec2:GetConsoleOutput');
    assert.equal((await world.mint('agent', 'stop')).status, 0);
    const { status, stdout, stderr } = await world.mint('doctor', 'dev', '--report');
    denied();
    assert.equal(status, 1, stderr);
    const { instance } = world.vm('dev');
    const policy = JSON.parse(/```json\n([\s\S]*?)\n```/.exec(stdout)?.[1] ?? '');
    const resource = `arn:aws:ec2:us-east-1:123456789012:instance/${instance}`;
    assert.deepEqual(policy.Statement, [
      {
        Effect: 'Allow',
        Action: 'ec2-instance-connect:SendSSHPublicKey',
        Resource: resource,
        Condition: { StringEquals: { 'ec2:osuser': loginUser } },
      },
      { Effect: 'Allow', Action: 'ec2:GetConsoleOutput', Resource: resource },
    ]);
    assert.match(stdout, /^- caller: arn:aws:iam::123456789012:/m);
    assert.ok(!stdout.includes(demoAccessKey.secret) && !stdout.includes(demoAccessKey.id));
  });

  test('on a terminal of 80 columns no line wraps, and failures are red; NO_COLOR is respected', async () => {
    const line = `stty cols 80; exec ${world.program} doctor closed --file ${world.sshConfigFile}`;
    const on = await world.run('script', ['-qec', line, '/dev/null'], { env: { TERM: 'xterm' } });
    const rows = on.stdout.split('\r\n');
    const width = (row: string) => stripVTControlCharacters(row.slice(row.lastIndexOf('\r') + 1)).length;
    const unbroken = rows.filter((row) => width(row) > 80 && !/^\s*\S+$/.test(row));
    assert.deepEqual(unbroken, []);
    assert.ok(on.stdout.includes('\u001b[31mFAIL\u001b[0m  address'));
    const off = await world.run('script', ['-qec', line, '/dev/null'], {
      env: { TERM: 'xterm', NO_COLOR: '1' },
    });
    assert.ok(!off.stdout.includes('\u001b[31m'));
  });

  test('audit.log has each event, with the request ID of the push', async () => {
    const pinned = JSON.parse((await world.mint('hosts', 'show', 'dev', '--json')).stdout).fingerprint;
    const known = await world.mint('hosts', 'accept', 'dev', pinned);
    assert.equal(known.status, 0, known.stderr);
    const { status, stderr } = await world.ssh('dev', 'true');
    assert.equal(status, 0, stderr);
    assert.equal((await world.mint('hosts', 'forget', 'dev')).status, 0);
    const lines = (world.file('audit.log') ?? '')
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    const events = new Set(lines.map((line) => line.event));
    assert.deepEqual([...events].sort(), [
      'host-key-accepted',
      'host-key-changed',
      'host-key-forgotten',
      'login',
      'push',
    ]);
    const login = lines.filter((line) => line.event === 'login').at(-1);
    const push = lines.filter(
      (line) => line.event === 'push' && line.aws_request_id === login.aws_request_id,
    );
    assert.equal(push.length, 1);
    assert.deepEqual(
      [login.vm_name, login.instance_id, login.command],
      ['dev', world.vm('dev').instance, 'proxy'],
    );
    assert.equal(login.key_fingerprint, push[0].key_fingerprint);
    assert.ok(world.cloud.requests.some(({ requestId }) => requestId === login.aws_request_id));
    assert.equal(statSync(join(world.configDir, 'audit.log')).mode & 0o777, 0o600);
    const changed = lines.find((line) => line.event === 'host-key-changed');
    assert.match(changed.key_fingerprint, /^SHA256:/);
  });
});
