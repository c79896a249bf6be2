/** VMs behind a jump host: `via` in ssh.toml, and `ssh -J` with one of our VMs as the jump host. */
import assert from 'node:assert/strict';
import { appendFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { configFileOf } from '../../src/proxy/routes/via.ts';
import { type Machine, type Machines, makeMachines, tags } from './machines.ts';
import { startSshd } from './sshd.ts';
import { loginUser, type Sshd, type World } from './world.ts';

const vms = [
  ['inner', 'via = "jump"'],
  ['deep', 'via = "inner"'],
  ['plain', 'via = "bastion"'],
  ['lost', 'via = "nowhere"'],
  ['one', 'via = "other"'],
  ['other', 'via = "one"'],
].map(([name, line]) => `[vm.${name}]\n${line}`);

describe('a VM behind a jump host', { timeout: 300_000 }, () => {
  let machines: Machines;
  let world: World;
  let jump: Machine;
  let inner: Machine;
  let bastion: Sshd;
  before(async () => {
    machines = await makeMachines(vms);
    ({ world } = machines);
    const hidden = (ip: string) => ({ publicIp: null, privateIp: ip });
    jump = await machines.add('127.0.0.81', tags('jump'));
    inner = await machines.add('127.0.0.82', { ...tags('inner'), ...hidden('127.0.0.82') });
    await machines.add('127.0.0.83', { ...tags('deep'), ...hidden('127.0.0.83') });
    await machines.add('127.0.0.84', { ...tags('plain'), ...hidden('127.0.0.84') });
    for (const name of ['lost', 'one', 'other']) machines.show({ ...tags(name), ...hidden('127.0.0.85') });
    const written = await world.mint('ssh-config', '--yes', '--refresh', '--file', world.sshConfigFile);
    assert.equal(written.status, 0, written.stderr);
    bastion = await addBastion();
  });
  after(async () => {
    await bastion.stop({ sessions: true });
    await machines.end();
  });

  /** A host unknown to mint-ssh, with its own key and known-hosts file in the user's ssh config. */
  async function addBastion(): Promise<Sshd> {
    const directory = join(world.directory, 'bastion');
    const keys = join(directory, 'keys');
    mkdirSync(keys, { recursive: true });
    const key = join(directory, 'id');
    assert.equal((await world.run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', key])).status, 0);
    writeFileSync(join(keys, loginUser), readFileSync(`${key}.pub`));
    const sshd = await startSshd({ directory, authorizedKeys: keys, address: '127.0.0.86' });
    const knownHosts = join(directory, 'known_hosts');
    writeFileSync(knownHosts, `[127.0.0.86]:${sshd.port} ${sshd.hostKey.line}\n`);
    appendFileSync(
      world.sshConfigFile,
      `\nHost bastion\n  HostName 127.0.0.86\n  Port ${sshd.port}\n  User ${loginUser}\n  IdentityFile ${key}\n` +
        `  UserKnownHostsFile ${knownHosts}\n  StrictHostKeyChecking yes\n`,
    );
    return sshd;
  }

  async function reaches(name: string, ...more: string[]): Promise<void> {
    const { status, stdout, stderr } = await world.ssh(...more, name, 'echo at $MACHINE');
    assert.equal(status, 0, stderr);
    assert.match(stdout, /^at i-/);
  }

  test('that is another of our VMs is reached through it, with its own host key pinned', async () => {
    const before = jump.sshd.accepted();
    await reaches('inner');
    assert.equal(jump.sshd.accepted(), before + 1);
    const pins = world.file('known_hosts')?.split('\n') ?? [];
    assert.ok(pins.includes(`inner=${inner.sshd.hostKey.fingerprint}`), pins.join('\n'));
  });

  test('that is behind a jump host itself is reached through both', async () => {
    await reaches('deep');
  });

  test('that only the user’s ssh config knows is reached through it', async () => {
    const before = bastion.accepted();
    await reaches('plain');
    assert.equal(bastion.accepted(), before + 1);
  });

  test('carries more than the pipes hold, in both directions', async () => {
    const { status, stdout } = await world.startSsh(['inner', 'head -c 30000000 /dev/zero | wc -c; wc -c'], {
      input: Buffer.alloc(20_000_000, 1),
    }).done;
    assert.equal(status, 0);
    assert.deepEqual(stdout.trim().split(/\s+/), ['30000000', '20000000']);
  });

  test('with a changed host key is blocked', async () => {
    await inner.sshd.replaceHostKey();
    const { status, stderr } = await world.ssh('inner', 'true');
    assert.equal(status, 255);
    assert.match(stderr, /\(host-key-changed\)/);
    const { fingerprint } = inner.sshd.hostKey;
    assert.equal((await world.mint('hosts', 'accept', 'inner', fingerprint)).status, 0);
    await reaches('inner');
  });

  test('that cannot be reached is named, with a command that shows why', async () => {
    const { status, stderr } = await world.ssh('lost', 'true');
    assert.equal(status, 255);
    assert.match(stderr, /cannot reach lost through nowhere: ssh exited with status 255 \(dial-failed\)/);
    assert.match(stderr, /hint: try: ssh nowhere/);
  });

  test('is refused if the jump hosts form a circle', async () => {
    const { status, stderr } = await world.ssh('one', 'true');
    assert.equal(status, 255);
    assert.match(stderr, /the jump hosts of one form a circle: one → other → one \(bad-settings\)/);
  });

  test('ssh -J with one of our VMs as the jump host works as before', async () => {
    const before = jump.sshd.accepted();
    const { status, stdout } = await world.startSsh(
      ['-J', 'jump', '-W', `127.0.0.82:${machines.port}`, 'bastion'],
      {
        input: 'SSH-2.0-test\r\n',
        timeout: 60_000,
      },
    ).done;
    assert.notEqual(status, undefined);
    assert.match(stdout, /^SSH-2\.0-OpenSSH/);
    assert.equal(jump.sshd.accepted(), before + 1);
  });
});

test('the config file of the calling ssh is found in every form of its arguments', () => {
  for (const [words, expected] of [
    [['-F', '/a', 'dev'], '/a'],
    [['-F/a', 'dev'], '/a'],
    [['-vvF', '/a', 'dev', 'true'], '/a'],
    [['-o', 'F', '-4', '-F', '/a', 'dev'], '/a'],
    [['dev', '-F', '/a'], '/a'],
    [['-oF', 'dev'], undefined],
    [['-i', '-F', 'dev'], undefined],
    [['dev', 'grep', '-F', 'word'], undefined],
    [['dev', '--', '-F', 'word'], undefined],
    [['-l', 'me', '-p', '22', 'dev'], undefined],
  ] as const) {
    assert.equal(configFileOf(words), expected, words.join(' '));
  }
});
