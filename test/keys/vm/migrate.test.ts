/** `mint-ssh keys migrate`: keys of older systems in ~/.ssh, with a real sshd that accepts or refuses them. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { after, before, beforeEach, describe, test } from 'node:test';
import { olderKeys } from '../../../src/keys/older-keys.ts';
import { mintProgram } from '../../openssh/world.ts';
import { makeKey } from '../key-lines.ts';
import { readDirectory, snapshot } from '../store/keys-program.ts';
import { type KeyWorld, makeKeyWorld } from './key-world.ts';

describe('mint-ssh keys migrate', { timeout: 300_000 }, () => {
  let place: KeyWorld;
  let from: string;

  before(async () => {
    place = await makeKeyWorld(['dev']);
    from = join(place.world.home, '.ssh');
  });

  after(() => place.end());

  beforeEach(() => {
    for (const directory of [place.store, from]) rmSync(directory, { recursive: true, force: true });
    mkdirSync(from, { mode: 0o700 });
  });

  const listed = async () => {
    const { stdout } = await place.keys(0, 'list', '--json');
    return JSON.parse(stdout) as Record<string, unknown>[];
  };

  test('imports every form under its profile, with its properties, and removes the originals', async () => {
    const line = makeKey(from, 'cws-big-lab-us-gov-west-1', '-t', 'rsa', '-b', '2048', '-m', 'PEM');
    makeKey(from, 'prism-research-us-west-2', '-t', 'ed25519');
    renameSync(join(from, 'prism-research-us-west-2'), join(from, 'prism-research-us-west-2.pem'));
    makeKey(from, 'cws-old-key', '-t', 'ed25519');
    copyFileSync(join(from, 'cws-old-key'), join(from, 'cws-old-key.pem'));
    unlinkSync(join(from, 'cws-old-key.pub'));
    makeKey(from, 'id_ed25519', '-t', 'ed25519');
    const before = snapshot(from);

    const plan = await place.keys(0, 'migrate', '--dry-run');
    assert.match(
      plan.stderr,
      /^mint-ssh: big-lab, region us-gov-west-1: would take in ".*\/cws-big-lab-us-gov-west-1"$/m,
    );
    assert.deepEqual([snapshot(from), readDirectory(place.store)], [before, []]);

    const { stderr } = await place.keys(1, 'migrate');
    assert.match(stderr, /research: no instance of it is known, so no login was tried/);
    assert.match(
      stderr,
      /research: is in the store; the original in .* stays until a login has proved the key/,
    );
    assert.deepEqual(snapshot(from), before, 'nothing was proved, so nothing is removed');
    await place.keys(0, 'migrate', '--keep-originals');
    assert.deepEqual(snapshot(from), before);
    const forced = await place.keys(0, 'migrate', '--force');
    assert.match(
      forced.stderr,
      /research: moved into the store \(SHA256:.*\); not proved by a login everywhere \(--force\)/,
    );
    assert.deepEqual(readDirectory(from), ['id_ed25519', 'id_ed25519.pub']);
    const told = (await listed()).map((key) => [
      key['profile'],
      (key['ec2_key_pairs'] as { name: string }[])[0]?.name,
      key['region'],
      key['type'],
    ]);
    assert.deepEqual(told.sort(), [
      ['big-lab', 'cws-big-lab-us-gov-west-1', 'us-gov-west-1', 'rsa-2048'],
      ['old', 'cws-old-key', 'us-east-1', 'ed25519'],
      ['research', 'prism-research-us-west-2', 'us-west-2', 'ed25519'],
    ]);
    const { stdout } = await place.keys(0, 'public', 'big-lab');
    assert.equal(stdout.split(' ')[1], line.split(' ')[1]);
    assert.match((await place.keys(0, 'migrate')).stderr, /no cws-\* or prism-\* keys in/);
  });

  test('keeps an original until each of its instances accepts the key, and asks EC2 which they are', async () => {
    const line = makeKey(from, 'cws-lab-us-east-1', '-t', 'ed25519');
    const originals = readDirectory(from);
    const { instance } = place.world.vm('dev');
    const known = place.world.cloud.instances.get(instance);
    assert.ok(known);
    place.world.cloud.instances.set(instance, { ...known, keyName: 'cws-lab-us-east-1' });
    place.letIn('# nobody', 'dev');
    const { stderr } = await place.keys(1, 'migrate');
    assert.match(stderr, /lab: dev did not accept it: .*denied/i);
    assert.match(stderr, /the original in .* stays until a login has proved the key/);
    assert.deepEqual(readDirectory(from), originals);
    assert.equal((await listed()).length, 1);

    place.letIn(line, 'dev');
    assert.match((await place.keys(0, 'migrate')).stderr, /moved into the store .* accepted by dev/);
    assert.deepEqual(readDirectory(from), []);
    const [moved = {}] = await listed();
    assert.deepEqual(
      (moved['vms'] as { vm: string }[]).map(({ vm }) => vm),
      ['dev'],
    );
    assert.match(
      place.world.file('audit.log') ?? '',
      /"command":"keys migrate".*"event":"key-migrated".*"key":"lab"/,
    );
    place.world.cloud.instances.set(instance, known);
  });

  test('keeps files that ~/.ssh/config names, that are not one key, or whose profile has another key', async () => {
    makeKey(from, 'cws-named-us-east-1', '-t', 'ed25519');
    writeFileSync(join(from, 'config'), 'Host x\n  IdentityFile ~/.ssh/cws-named-us-east-1\n', {
      mode: 0o600,
    });
    makeKey(from, 'cws-two-us-east-1', '-t', 'ed25519');
    makeKey(from, 'cws-two-eu-west-1', '-t', 'ed25519');
    makeKey(from, 'cws-mixed-us-east-1', '-t', 'ed25519');
    copyFileSync(join(from, 'cws-two-eu-west-1.pub'), join(from, 'cws-mixed-us-east-1.pub'));
    makeKey(from, 'cws-open-us-east-1', '-t', 'ed25519');
    chmodSync(join(from, 'cws-open-us-east-1'), 0o644);
    writeFileSync(join(from, 'cws-.._x-us-east-1'), 'no key', { mode: 0o600 });
    const { stderr } = await place.keys(1, 'migrate', '--force');
    assert.match(stderr, /named: is in the store; the original in .* stays as long as ".*\/config" names it/);
    assert.match(
      stderr,
      /cws-two-us-east-1: two has another key already: SHA256:\S+ here, SHA256:\S+ there \(key-exists\)/,
    );
    assert.match(stderr, /cws-mixed-us-east-1: ".*" is not the public half of it \(key-invalid\)/);
    assert.match(stderr, /cws-open-us-east-1: .* \(unsafe-permissions\)/);
    assert.match(stderr, /cws-\.\._x-us-east-1: .* \(key-name\)/);
    assert.deepEqual((await listed()).map((key) => key['profile']).sort(), ['named', 'two']);
    const left = readDirectory(from).filter((file) => !file.endsWith('.pub'));
    assert.deepEqual(left, [
      'config',
      'cws-.._x-us-east-1',
      'cws-mixed-us-east-1',
      'cws-named-us-east-1',
      'cws-open-us-east-1',
      'cws-two-us-east-1',
    ]);
  });

  test('keeps the passphrase that a key has', async () => {
    makeKey(from, 'cws-locked-us-east-1', '-t', 'ed25519');
    execFileSync('ssh-keygen', ['-q', '-p', '-N', 'sesame 5', '-f', join(from, 'cws-locked-us-east-1')]);
    const refused = await place.keys(1, 'migrate');
    assert.match(refused.stderr, /cws-locked-us-east-1: .* \(key-passphrase\)/);
    const askpass = join(place.world.directory, 'askpass');
    writeFileSync(askpass, '#!/bin/sh\necho sesame 5\n', { mode: 0o700 });
    chmodSync(askpass, 0o700);
    const env = { SSH_ASKPASS: askpass, SSH_ASKPASS_REQUIRE: 'force' };
    const ended = await place.world.run(mintProgram, ['keys', 'migrate', '--force'], { env });
    assert.equal(ended.status, 0, ended.stderr);
    const open = (secret: string) =>
      execFileSync('ssh-keygen', ['-y', '-P', secret, '-f', join(place.store, 'locked')], { stdio: 'pipe' });
    assert.ok(open('sesame 5').toString().startsWith('ssh-ed25519 '));
    assert.throws(() => open(''));
    assert.doesNotMatch(readFileSync(join(place.store, 'metadata.json'), 'utf8'), /sesame/);
  });
});

test('the profile and the region in the name of an older key', () => {
  const files = [
    'cws-a-b-us-iso-east-1.pem',
    'prism-x-key',
    'cws-y-ap-southeast-2-key.pub',
    'known_hosts',
    'cws-',
    'cws-lab-eusc-de-east-1',
  ];
  const found = olderKeys(files).map(({ profile, region }) => [profile, region]);
  assert.deepEqual(found, [
    ['a-b', 'us-iso-east-1'],
    ['x', undefined],
    ['y', 'ap-southeast-2'],
    ['lab', 'eusc-de-east-1'],
  ]);
});
