/**
 * The first day of a user with ordinary EC2 instances: Name tags, sshd on port 22, the users of their images, no
 * ssh.toml, and nothing of Mint's. One of them can be logged in to: its image's user is the user of the tests.
 */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { Instance } from '../../src/demo/instance.ts';
import { demoRegion } from '../cloud/cloud.ts';
import { startSshd } from './sshd.ts';
import { loginUser, makeWorld, type Sshd, type World } from './world.ts';

const images = {
  'ami-0000000000000000a': { name: 'al2023-ami-2023.6.20250303.0-kernel-6.1-x86_64', owner: '137112412989' },
  'ami-0000000000000000b': { name: 'debian-12-amd64-20250316-2053', owner: '136693071363' },
  'ami-0000000000000000c': { name: 'nixos/24.11.716390.9684b53175fc-x86_64-linux', owner: '427812963091' },
  'ami-0000000000000000d': { name: 'golden-base-7', owner: '123456789012' },
  'ami-0000000000000000e': {
    name: 'ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-20250305',
    owner: '099720109477',
  },
};

const canBindPort22 = process.getuid?.() === 0 && loginUser === 'root';

describe('ordinary EC2 instances', { timeout: 300_000, skip: !canBindPort22 && 'needs port 22' }, () => {
  let world: World;
  let sshd: Sshd;

  const show = (name: string | undefined, image: string, more: Partial<Instance> = {}): string => {
    const id = `i-${randomBytes(9).toString('hex').slice(1)}`;
    world.cloud.instances.set(id, {
      id,
      region: demoRegion,
      state: 'running',
      address: '127.0.0.61',
      image,
      ...(name === undefined ? {} : { tags: { Name: name } }),
      ...more,
    });
    return id;
  };
  const startAfresh = () => {
    for (const file of ['ssh.toml', 'cache', 'ssh_config', 'approvals.json'])
      rmSync(join(world.configDir, file), { recursive: true, force: true });
    rmSync(world.sshConfigFile, { force: true });
  };
  const effective = async (name: string) => {
    const { stdout } = await world.ssh('-G', name);
    const value = (keyword: string) => new RegExp(`^${keyword} (.*)$`, 'm').exec(stdout)?.[1];
    return `${value('user')} ${value('port')}`;
  };

  let buildId: string;
  let plainId: string;
  before(async () => {
    world = await makeWorld({ emptyAccount: true, vms: {}, withoutSshConfig: true });
    for (const [id, image] of Object.entries(images)) world.cloud.images.set(id, image);
    buildId = show('build', 'ami-0000000000000000c');
    show('Data', 'ami-0000000000000000a', { address: '127.0.0.62' });
    show('edge', 'ami-0000000000000000b', { address: '127.0.0.63' });
    plainId = show(undefined, 'ami-0000000000000000d', { state: 'stopped' });
    show('minted', 'ami-0000000000000000e', {
      tags: { mint: 'true', 'mint:vm': 'minted', 'mint:owner': 'akiademodemodemodemo', Name: 'x' },
    });
    sshd = await startSshd({
      directory: join(world.directory, 'machine'),
      authorizedKeys: join(world.directory, 'keys', buildId),
      address: '127.0.0.61',
      port: 22,
    });
    startAfresh();
  });
  after(async () => {
    await sshd.stop({ sessions: true });
    await world.end();
  });

  test('vms lists every instance of the region, and the command that adds the ones without a block', async () => {
    startAfresh();
    const { status, stdout, stderr } = await world.mint('vms');
    assert.equal(status, 0, stderr);
    const names = stdout
      .split('\n')
      .slice(1)
      .map((line) => line.split(' ')[0]);
    assert.deepEqual(names, ['build', 'data', 'edge', plainId, 'minted', '']);
    assert.match(stderr, /5 VMs have no Host block, /);
    assert.match(stderr, /hint: mint-ssh ssh-config build data edge\n/);
  });

  test('vms --json has user and port of each', async () => {
    const { stdout } = await world.mint('vms', '--json');
    const logins = JSON.parse(stdout).map(({ vm, user, port, has_block }: Record<string, unknown>) =>
      [vm, user, port, has_block].join(' '),
    );
    assert.deepEqual(logins, [
      'build root 22 false',
      'data ec2-user 22 false',
      'edge admin 22 false',
      `${plainId} ubuntu 22 false`,
      'minted ubuntu 41122 false',
    ]);
  });

  test('a name that AWS does not know is answered with the near one that vms showed', async () => {
    const { status, stderr } = await world.mint('ssh', 'biuld', 'true');
    assert.equal(status, 1);
    assert.match(stderr, /\(vm-not-found\)\n.*hint: did you mean: build\n/);
  });

  test('mint-ssh ssh logs in to a VM that vms shows, with no file written before', async () => {
    const { status, stdout, stderr } = await world.mint('ssh', 'build', 'echo', 'hello', '$LOGNAME');
    assert.equal(status, 0, stderr);
    assert.equal(stdout, 'hello root\n');
    assert.equal(existsSync(join(world.configDir, 'ssh.toml')), false);
  });

  test('mint-ssh ssh asks AWS where neither a file nor the cache knows the VM', async () => {
    startAfresh();
    const { status, stdout, stderr } = await world.mint('ssh', 'build', '--', 'echo', 'hello');
    assert.equal(status, 0, stderr);
    assert.equal(stdout, 'hello\n');
    const byId = await world.mint('ssh', buildId, 'echo', 'again');
    assert.equal(byId.status, 0, byId.stderr);
  });

  test('ssh-config NAME writes the user of the image and port 22, and plain ssh logs in', async () => {
    startAfresh();
    const words = ['ssh-config', '--yes', '--file', world.sshConfigFile];
    const { status, stderr } = await world.mint(...words, 'build', 'data', 'edge', plainId);
    assert.equal(status, 0, stderr);
    assert.match(stderr, new RegExp(`the image of ${plainId} does not tell its user`));
    assert.equal(await effective('build'), 'root 22');
    assert.equal(await effective('data'), 'ec2-user 22');
    assert.equal(await effective('edge'), 'admin 22');
    assert.equal(await effective(plainId), 'ubuntu 22');
    assert.equal(await effective('minted'), 'ubuntu 41122');
    const login = await world.ssh('build', 'echo hello');
    assert.equal(login.status, 0, login.stderr);
  });

  test('ssh.toml wins over the usual user and port', async () => {
    writeFileSync(join(world.configDir, 'ssh.toml'), '[vm.data]\nuser = "me"\n[vm.edge]\nport = 2222\n', {
      mode: 0o600,
    });
    const { status, stderr } = await world.mint('ssh-config', '--yes', '--file', world.sshConfigFile);
    assert.equal(status, 0, stderr);
    assert.equal(await effective('data'), 'me 22');
    assert.equal(await effective('edge'), 'admin 2222');
    assert.equal(await effective('build'), 'root 22');
  });

  test('without AWS the blocks keep their users and ports', async () => {
    rmSync(join(world.configDir, 'cache'), { recursive: true });
    const { status, stderr } = await world.run('env', [
      'AWS_ACCESS_KEY_ID=AKIAWRONG',
      world.program,
      'ssh-config',
      '--yes',
      '--file',
      world.sshConfigFile,
    ]);
    assert.equal(status, 0, stderr);
    assert.match(stderr, /note: could not list your VMs: .*\(aws-credentials\)/);
    assert.equal(await effective('build'), 'root 22');
    assert.equal(await effective('minted'), 'ubuntu 41122');
  });

  test('if AWS cannot be asked, the error says why, instead of reporting an unknown VM', async () => {
    startAfresh();
    for (const words of [['ssh', 'build'], ['ssh-config', 'build'], ['ssh-config'], ['vms']]) {
      const wrong = await world.start(world.program, words, { env: { AWS_ACCESS_KEY_ID: 'AKIAWRONG' } }).done;
      assert.notEqual(wrong.status, 0, words.join(' '));
      assert.match(wrong.stderr, /\(aws-credentials\)\nmint-ssh: hint: /, words.join(' '));
      assert.doesNotMatch(wrong.stderr, /no VM/);
      const nowhere = await world.start(world.program, words, { env: { AWS_REGION: undefined } }).done;
      assert.equal(nowhere.status, 2, words.join(' '));
      assert.match(nowhere.stderr, /no AWS region is set \(bad-settings\)/);
      assert.doesNotMatch(nowhere.stderr, /no VM/);
    }
  });

  test('two instances with one Name tag are listed by their IDs, and the name is refused', async () => {
    startAfresh();
    const twins = [show('twin', 'ami-0000000000000000b'), show('TWIN', 'ami-0000000000000000b')];
    const { stdout } = await world.mint('vms');
    for (const id of twins) assert.match(stdout, new RegExp(`^${id} `, 'm'));
    assert.doesNotMatch(stdout, /^twin/im);
    const { status, stderr } = await world.mint('ssh', 'twin');
    assert.equal(status, 1);
    assert.match(stderr, /2 instances are called twin: /);
    for (const id of twins) world.cloud.instances.delete(id);
  });

  test('a Name tag that reads like an instance ID does not name an instance', async () => {
    startAfresh();
    const id = show(buildId, 'ami-0000000000000000b');
    const { stdout } = await world.mint('vms', '--json');
    const rows: { vm: string; instance: string }[] = JSON.parse(stdout);
    assert.deepEqual(rows.find(({ instance }) => instance === id)?.vm, id);
    assert.equal(rows.filter(({ vm }) => vm === buildId).length, 0);
    world.cloud.instances.delete(id);
  });

  test('without ec2:DescribeImages the VMs are listed, and ssh-config names the assumed user', async () => {
    startAfresh();
    world.cloud.accessKeys.set('AKIANOIMAGES', { secret: 'x', denied: ['ec2:DescribeImages'] });
    const env = { AWS_ACCESS_KEY_ID: 'AKIANOIMAGES', AWS_SECRET_ACCESS_KEY: 'x' };
    const words = ['ssh-config', '--yes', '--file', world.sshConfigFile, 'data'];
    const { status, stderr } = await world.start(world.program, words, { env }).done;
    assert.equal(status, 0, stderr);
    assert.match(stderr, /the image of data does not tell its user: .*DescribeImages.*\(aws-denied\)/);
    assert.equal(await effective('data'), 'ubuntu 22');
    assert.match(readFileSync(world.sshConfigFile, 'utf8'), /^Include /m);
  });
});
