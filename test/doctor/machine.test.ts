/** `mint-ssh doctor` as a user runs it: each check when all is well, and with its subject broken. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { chmodSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { makeWorld, mintProgram, type World, waitFor } from '../openssh/world.ts';
import { doctor, general } from './told.ts';

describe('a machine and a VM without problems', { timeout: 300_000 }, () => {
  let world: World;
  before(async () => {
    world = await makeWorld({ vms: { dev: {}, build: {} } });
  });
  after(() => world.end());

  test('every line is ok, in order, and a real login is made', async () => {
    const { status, rows, of } = await doctor(world, ['dev']);
    assert.deepEqual(
      rows.filter((row) => row.status !== 'ok'),
      [],
    );
    assert.equal(status, 0);
    assert.deepEqual(
      [...new Set(rows.map((row) => row.check))],
      [
        'ssh',
        'permissions',
        'settings',
        'include',
        'agent',
        'forwarding',
        'block',
        'other keys',
        'credentials',
        'region',
        'instance',
        'address',
        'banner',
        'login',
        'actions',
        'pin',
      ],
    );
    const { instance, port } = world.vm('dev');
    assert.match(of('ssh'), /OpenSSH_/);
    assert.match(of('settings'), /\[vm\.dev\] is complete/);
    assert.match(of('credentials'), /you are arn:aws:\S+ in account \d{12}/);
    assert.match(of('region'), /us-east-1, from the environment/);
    assert.match(
      of('actions'),
      /SendSSHPublicKey is allowed\n.*DescribeInstances is allowed\n.*GetConsoleOutput is allowed/,
    );
    assert.match(of('instance'), new RegExp(`${instance} is running`));
    assert.match(of('address'), new RegExp(`127\\.0\\.0\\.1 port ${port} answers`));
    assert.match(of('banner'), /SSH-2\.0-OpenSSH/);
    assert.match(of('login'), /`ssh dev true` took \d+ ms/);
    // The pin that this login made.
    const pin = of('pin');
    assert.ok(
      pin.includes(world.sshd('dev').hostKey.fingerprint) && pin.includes('pinned at first use'),
      pin,
    );
    assert.equal(world.sshd('dev').accepted(), 1);
  });

  test('prints a line for each check, and a hint below each problem', async () => {
    const { status, stdout } = await world.mint('doctor', '--file', '/nowhere/config');
    assert.equal(status, 1);
    assert.match(stdout, /^ok {4}ssh {11}OpenSSH_/m);
    assert.match(stdout, /^FAIL {2}include .*\n +hint: mint-ssh ssh-config --file \/nowhere\/config$/m);
  });

  test('without a VM it dials nothing and pushes no key; each VM has its line', async () => {
    const pushes = world.cloud.pushes.length;
    const { of, rows } = await general(world);
    assert.equal(world.cloud.pushes.length, pushes);
    assert.match(of('settings'), /names 2 VMs/);
    assert.match(of('agent'), /ok: .* runs as pid \d+/);
    assert.match(of('pin of dev'), /ok: SHA256:/);
    assert.equal(of('pin of build'), 'ok: no key is pinned yet: the first login pins one');
    assert.ok(!rows.some(({ check }) => check === 'login'));
  });

  test('other versions of ssh, another ssh, and none', async () => {
    const bin = join(world.directory, 'bin');
    mkdirSync(bin);
    const says = async (version: string, more = '') => {
      const script = `#!/bin/sh\n[ "$1" = -V ] && { echo '${version}' >&2; exit; }\n${more}\nexec /usr/bin/ssh "$@"\n`;
      writeFileSync(join(bin, 'ssh'), script, { mode: 0o755 });
      const { of } = await general(world, { PATH: `${bin}:${world.environment['PATH']}` });
      return of('ssh');
    };
    assert.match(await says('OpenSSH_8.3p1, OpenSSL 1.1.1'), /^fail: OpenSSH_8.3p1 is too old/);
    assert.match(await says('OpenSSH_8.7p1, OpenSSL 3.0'), /^warn: .*session-bind/);
    assert.match(await says('OpenSSH_for_Windows_9.5p1, LibreSSL'), /^ok: /);
    assert.match(await says('OpenSSH_10.5p1, OpenSSL 3.5'), /^ok: .*upstream_agent/);
    // An ssh that accepts any user name, as all did before 9.6.
    const taking = await says('OpenSSH_9.5p1, OpenSSL 3.0', '[ "$4" = -l ] && exit 0');
    assert.match(taking, /^ok: OpenSSH_9\.5p1\nwarn: .*shell syntax.*CVE-2023-51385/);
    assert.match(await says('Sun_SSH_2.4'), /^warn: "Sun_SSH_2.4" is not the version of an OpenSSH/);
    rmSync(join(bin, 'ssh'));
    const { of, hint } = await general(world, { PATH: bin });
    assert.match(of('ssh'), /^fail: there is no ssh on this machine/);
    assert.match(hint('ssh'), /openssh-client/);
  });

  test('names each path that others could change or enter, with the command that fixes it', async () => {
    const path = (name: string) => join(world.configDir, name);
    const before = new Map(
      ['hosts', 'run', 'ssh.toml', 'known_hosts'].map((name) => [name, statSync(path(name)).mode]),
    );
    writeFileSync(path('config.toml'), '', { mode: 0o600 });
    chmodSync(path('hosts'), 0o777);
    chmodSync(path('run'), 0o755);
    chmodSync(path('known_hosts'), 0o666);
    chmodSync(path('config.toml'), 0o620);
    const { of, rows } = await general(world);
    for (const name of ['hosts', 'run', 'known_hosts', 'config.toml']) {
      assert.match(of('permissions'), new RegExp(`^fail: "\\S+/${name}" .*\\(unsafe-permissions\\)$`, 'm'));
    }
    assert.match(of('agent'), /^fail: other users could access/);
    const commands = rows.filter(({ check }) => check === 'permissions').map(({ hint }) => hint ?? '');
    for (const command of commands) {
      assert.match(command, /^chmod go/);
      assert.equal((await world.run('/bin/sh', ['-c', command])).status, 0);
    }
    assert.match((await general(world)).of('permissions'), /^ok: /);
    for (const [name, mode] of before) chmodSync(path(name), mode & 0o777);
  });

  test('ssh.toml: an invalid line, a VM it does not have, no VM, no file', async () => {
    const file = join(world.configDir, 'ssh.toml');
    const text = readFileSync(file, 'utf8');
    const bad = async (content: string, ...args: string[]) => {
      writeFileSync(file, content);
      return await doctor(world, args);
    };
    const wrong = await bad(`colour = "red"\n${text}`, 'dev');
    assert.match(wrong.of('settings'), /^fail: ssh\.toml:1: unknown setting "colour" \(bad-settings\)/);
    assert.match(
      (await bad(text, 'nowhere')).of('instance'),
      /^fail: no VM of \S+ is called nowhere \(vm-not-found\)/,
    );
    assert.match((await bad('user = "me"\n')).of('settings'), /^(?:ok|warn): .* has no VM/);
    rmSync(file);
    assert.match((await general(world)).of('settings'), /^(?:ok|warn): .* has no VM/);
    writeFileSync(file, text, { mode: 0o600 });
  });

  test('agent forwarding: the socket missing, no agent, a dead one, ours, one that answers', async () => {
    assert.match((await general(world)).of('forwarding'), /^ok: you have no agent/);
    const own = join(world.directory, 'own.sock');
    const dead = await general(world, { SSH_AUTH_SOCK: own });
    assert.match(dead.of('forwarding'), /^warn: your own agent does not listen on SSH_AUTH_SOCK/);
    const ours = await general(world, { SSH_AUTH_SOCK: join(world.configDir, 'run/agent/dev.sock') });
    assert.match(ours.of('forwarding'), /^warn: SSH_AUTH_SOCK is a socket of mint-ssh/);
    const agent = world.start('ssh-agent', ['-D', '-a', own]);
    await agent.until(/SSH_AUTH_SOCK/);
    assert.match(
      (await general(world, { SSH_AUTH_SOCK: own })).of('forwarding'),
      /^ok: your own agent answers/,
    );
    await world.settings([`upstream_agent = "${own}"`]);
    assert.match((await general(world)).of('forwarding'), /^ok: your own agent answers/);
    await world.settings([]);
    agent.kill();
    await agent.done;
    assert.equal((await world.mint('agent', 'stop')).status, 0);
    rmSync(join(world.configDir, 'run/forward.sock'), { force: true });
    assert.match((await general(world)).of('forwarding'), /^warn: .*forward\.sock" is missing/);
    writeFileSync(join(world.configDir, 'run/forward.sock'), '', { mode: 0o600 });
  });

  test('an agent of another version, and one that does not answer', async () => {
    assert.equal((await world.mint('agent', 'stop')).status, 0);
    const socket = join(world.configDir, 'run/control.sock');
    const stand = async (answer: string) => {
      const server = net.createServer((client) =>
        client.on('data', () => client.write(answer)).on('error', () => {}),
      );
      await new Promise<void>((resolve) => server.listen(socket, resolve));
      const told = await general(world);
      server.close();
      return told;
    };
    const status = { pid: 1, version: '0.0.9', startedAt: '', connections: 0, vms: [] };
    const older = await stand(`${JSON.stringify({ type: 'status', status })}\n`);
    assert.match(older.of('agent'), /^warn: the running agent is 0\.0\.9, this is mint-ssh /);
    assert.match(older.hint('agent'), /^mint-ssh agent stop/);
    const silent = await stand('');
    assert.match(silent.of('agent'), /^fail: the agent does not answer/);
    assert.match((await general(world)).of('agent'), /^ok: not running/);
  });

  test('credentials that AWS does not know, missing ones, and no region', async () => {
    const wrong = await general(world, { AWS_ACCESS_KEY_ID: 'AKIAUNKNOWN' });
    assert.match(wrong.of('credentials'), /^fail: .*\(aws-credentials\)$/);
    const none = await general(world, { AWS_ACCESS_KEY_ID: undefined, AWS_SECRET_ACCESS_KEY: undefined });
    assert.match(none.of('credentials'), /^fail: there are no AWS credentials \(aws-credentials\)/);
    assert.match(none.hint('credentials'), /aws sso login/);
    const nowhere = await general(world, { AWS_REGION: undefined });
    assert.match(nowhere.of('region'), /^warn: none in ssh\.toml/);
    await world.settings(['region = "eu-west-1"']);
    assert.equal((await general(world)).of('region'), 'ok: eu-west-1');
    await world.settings([]);
  });
});

test('creates nothing on a machine without any setup', async (context) => {
  const world = await makeWorld({ withoutSshConfig: true });
  context.after(() => world.end());
  const { rows } = await doctor(world, ['--config-dir', join(world.home, 'nothing')]);
  assert.ok(
    rows.some(({ check, message }) => check === 'permissions' && message.includes('does not exist yet')),
  );
  assert.throws(() => statSync(join(world.home, 'nothing')));
});

test('shows on a terminal which check takes longer than a second', async (context) => {
  const world = await makeWorld();
  context.after(() => world.end());
  world.cloud.faults.delayMilliseconds = 1500;
  const line = `${mintProgram} doctor --file ${world.sshConfigFile}`;
  const child = spawn('script', ['-qec', line, '/dev/null'], {
    env: { ...world.environment, TERM: 'xterm' },
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  let said = '';
  child.stdout.on('data', (chunk: Buffer) => {
    said += chunk.toString();
  });
  await waitFor('it to end', 15_000, () => child.exitCode !== null);
  const [esc, erase] = ['\u001b', '\r\u001b[2K'];
  assert.match(said, /mint-ssh: checking [a-z, ]*credentials/);
  // The line is erased before the first finding, and at the end.
  assert.ok(said.includes(`${erase}mint-ssh: checking `));
  assert.match(said.replaceAll(esc, '<'), /\r<\[2K<\[32mok {2}<\[0m {2}credentials/);
  assert.doesNotMatch(said.slice(said.lastIndexOf(erase)), /checking/);
});
