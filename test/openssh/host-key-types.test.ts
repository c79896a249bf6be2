import assert from 'node:assert/strict';
import { readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { makeWorld, type World } from './world.ts';

function evidence(world: World, vm: string): string | undefined {
  return /"evidence": "([^"]+)"/.exec(world.file(`hosts/${vm}.json`) ?? '')?.[1];
}

describe('a VM', () => {
  let world: World;
  before(async () => {
    world = await makeWorld({
      vms: { curve: { hostKeyTypes: ['ecdsa'] }, prime: { hostKeyTypes: ['rsa'] }, dev: {} },
    });
  });
  after(() => world.end());

  for (const [vm, type] of [
    ['curve', 'ecdsa-sha2-nistp256'],
    ['prime', 'ssh-rsa'],
  ] as const) {
    test(`without an Ed25519 key is pinned by the ${type} key it has, which it has proven to own`, async () => {
      const first = await world.ssh(vm, 'echo in');
      assert.deepEqual([first.stdout, first.stderr], ['in\n', '']);
      assert.equal(evidence(world, vm), 'first-use');
      // Mint pins ed25519 keys, so its file has no line for this VM.
      assert.doesNotMatch(world.file('known_hosts') ?? '', new RegExp(`^${vm}=`, 'm'));
      assert.equal((await world.ssh(vm, 'echo again')).stdout, 'again\n');
    });
  }

  test('that shows a key of another type than the pinned one is distinguished from one with a changed key', async () => {
    // This client learns no other key than the one it logs in with.
    assert.equal((await world.ssh('-o', 'UpdateHostKeys=no', 'dev', 'true')).status, 0);
    const pinned = world.file('known_hosts');
    await world.sshd('dev').replaceHostKey('rsa');
    const accepted = world.sshd('dev').accepted();
    const { status, stderr } = await world.ssh('dev', 'true');
    assert.equal(status, 255);
    assert.match(stderr, /\(host-key-type\)/);
    assert.match(stderr, /ssh-ed25519.*ssh-rsa|ssh-rsa.*ssh-ed25519/s);
    assert.match(stderr, /hint: /);
    assert.equal(world.file('known_hosts'), pinned);
    assert.equal(world.sshd('dev').accepted(), accepted);
  });
});

describe('a recreated VM', () => {
  let world: World;
  before(async () => {
    world = await makeWorld();
  });
  after(() => world.end());

  /** The sshd is the same machine's: what is pushed to the new instance is good on it. */
  function becomes(instance: string): void {
    const toml = join(world.configDir, 'ssh.toml');
    const old = /i-[0-9a-f]{17}/.exec(readFileSync(toml, 'utf8'))?.[0] ?? '';
    writeFileSync(toml, readFileSync(toml, 'utf8').replace(old, instance));
    const known = world.cloud.instances.get(old);
    assert.ok(known);
    world.cloud.instances.delete(old);
    world.cloud.instances.set(instance, {
      ...known,
      id: instance,
      console: {
        at: Date.now(),
        text: `[    0.000000] Linux version 6.1\r\n-----BEGIN SSH HOST KEY KEYS-----\r\n${world.sshd('dev').hostKey.line}\r\n-----END SSH HOST KEY KEYS-----\r\n`,
      },
    });
    const keys = join(world.directory, 'keys');
    rmSync(join(keys, instance), { recursive: true, force: true });
    symlinkSync(join(keys, world.vm('dev').instance), join(keys, instance));
  }

  test('whose line Mint removed just logs in, verified by the console', async () => {
    assert.equal((await world.ssh('dev', 'true')).status, 0);
    await world.sshd('dev').replaceHostKey();
    becomes('i-0aaaaaaaaaaaaaaaa');
    writeFileSync(join(world.configDir, 'known_hosts'), '');
    const { stdout, stderr } = await world.ssh('dev', 'echo in');
    assert.deepEqual([stdout, stderr], ['in\n', '']);
    assert.equal(evidence(world, 'dev'), 'console');
  });

  test('whose line exists is blocked until the user accepts it once', async () => {
    await world.sshd('dev').replaceHostKey();
    becomes('i-0bbbbbbbbbbbbbbbb');
    const { status, stderr } = await world.ssh('dev', 'true');
    assert.equal(status, 255);
    assert.match(stderr, /is\s+a\s+new\s+one:\s+i-0aaaaaaaaaaaaaaaa\s+->\s+i-0bbbbbbbbbbbbbbbb/);
    assert.match(stderr, /shows\s+this\s+key/);
    assert.equal(
      (await world.mint('hosts', 'accept', 'dev', world.sshd('dev').hostKey.fingerprint)).status,
      0,
    );
    assert.equal((await world.ssh('dev', 'echo in')).stdout, 'in\n');
  });

  test('that is the same instance with another key gets a warning without a harmless cause', async () => {
    await world.sshd('dev').replaceHostKey();
    const { status, stderr } = await world.ssh('dev', 'true');
    assert.equal(status, 255);
    assert.match(stderr, /a host key\s+does\s+not\s+change\s+by\s+itself/);
    assert.doesNotMatch(stderr, /mint recreate/, 'Mint did not tag this instance');
    assert.match(stderr, /shows\s+ANOTHER\s+key/);
  });

  test('whose line was lost on the same instance causes a prompt: a rewrite does not authorize another key', async () => {
    writeFileSync(join(world.configDir, 'known_hosts'), '');
    const { status, stderr } = await world.ssh('dev', 'true');
    assert.equal(status, 255);
    assert.match(stderr, /\(host-key-changed\)/);
  });
});

describe('mint-ssh hosts verify', () => {
  test('compares a pinned key with the console, and ends with 3 if they differ', async () => {
    const world = await makeWorld({ settings: ['verify = "tofu"'] });
    try {
      assert.equal((await world.ssh('dev', 'true')).status, 0);
      const before = await world.mint('hosts', 'verify', 'dev');
      assert.equal(before.status, 0);
      assert.match(before.stdout, /not verified: the console output shows no host keys/);
      const show = (line: string) => {
        const { instance } = world.vm('dev');
        const known = world.cloud.instances.get(instance);
        assert.ok(known);
        const text = `-----BEGIN SSH HOST KEY KEYS-----\n${line}\n-----END SSH HOST KEY KEYS-----\n`;
        world.cloud.instances.set(instance, { ...known, console: { text, at: Date.now() } });
      };
      const { line } = world.sshd('dev').hostKey;
      show(line);
      assert.match((await world.mint('hosts', 'verify')).stdout, /dev: verified/);
      assert.equal(evidence(world, 'dev'), 'console');
      await world.sshd('dev').replaceHostKey();
      show(world.sshd('dev').hostKey.line);
      const differs = await world.mint('hosts', 'verify', 'dev', '--json');
      assert.equal(differs.status, 3);
      assert.match(differs.stdout, /"console": "differs"/);
    } finally {
      await world.end();
    }
  });
});
