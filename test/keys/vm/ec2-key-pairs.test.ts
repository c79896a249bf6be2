/** `mint-ssh keys … --aws`: the public halves in EC2, in the fingerprints that EC2 shows. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, beforeEach, describe, test } from 'node:test';
import { awsFingerprint, plainFingerprint } from '../../../src/keys/aws-fingerprint.ts';
import { blobOfLine } from '../../../src/keys/store/key-type.ts';
import { demoAccessKey } from '../../cloud/cloud.ts';
import { keyPairPlace } from '../../cloud/ec2-key-pairs.ts';
import { mintProgram } from '../../openssh/world.ts';
import { ownDirectory } from '../../platform/directory.ts';
import { makeKey } from '../key-lines.ts';
import { snapshot } from '../store/keys-program.ts';
import { type KeyWorld, makeKeyWorld } from './key-world.ts';

const region = 'us-east-1';

describe('mint-ssh keys with --aws', { timeout: 300_000 }, () => {
  let place: KeyWorld;

  before(async () => {
    place = await makeKeyWorld(['dev']);
  });

  after(() => place.end());

  beforeEach(() => place.world.cloud.keyPairs.clear());

  const inEc2 = (name: string, where = region) => place.world.cloud.keyPairs.get(keyPairPlace(where, name));
  const publicFile = (name: string) => readFileSync(join(place.store, `${name}.pub`), 'utf8').trim();

  /** Somebody else's key pair under that name. */
  function foreign(name: string): string {
    const line = makeKey(place.world.directory, `foreign-${name}`, '-t', 'ed25519');
    const pair = { id: 'key-0', name, region, publicKey: line, at: Date.now() };
    place.world.cloud.keyPairs.set(keyPairPlace(region, name), pair);
    return awsFingerprint(blobOfLine(line) ?? Buffer.alloc(0));
  }

  test('create and import put the key into EC2 under its name; the same key again is not an error', async () => {
    const { stderr } = await place.keys(0, 'create', 'My_Lab', '--aws');
    assert.match(stderr, /EC2 has it now as cws-my-lab-us-east-1 in us-east-1/);
    assert.equal(inEc2('cws-my-lab-us-east-1')?.publicKey, publicFile('my-lab'));
    assert.match((await place.keys(0, 'import', 'my-lab', '--aws')).stderr, /EC2 had it already/);
    makeKey(place.world.directory, 'mine', '-t', 'rsa', '-b', '2048', '-m', 'PEM');
    await place.keys(0, 'import', 'rsa', '--key-file', join(place.world.directory, 'mine'), '--aws');
    assert.equal(inEc2('cws-rsa-us-east-1')?.publicKey, publicFile('rsa'));
  });

  test('a further region gets a name of its own, by which the key is found', async () => {
    await place.keys(0, 'create', 'far', '--aws');
    await place.keys(0, 'import', 'far', '--aws', '--region', 'eu-west-1');
    assert.equal(inEc2('cws-far-eu-west-1', 'eu-west-1')?.publicKey, publicFile('far'));
    const { stdout } = await place.keys(0, 'show', 'cws-far-eu-west-1', '--json');
    const told = JSON.parse(stdout) as Record<string, unknown>;
    assert.deepEqual(told['ec2_key_pairs'], [
      { name: 'cws-far-us-east-1', region: 'us-east-1' },
      { name: 'cws-far-eu-west-1', region: 'eu-west-1' },
    ]);
    const { stderr } = await place.keys(0, 'delete', 'far', '--aws', '--force');
    assert.match(stderr, /no longer key pair cws-far-us-east-1/);
    assert.match(stderr, /no longer key pair cws-far-eu-west-1/);
    assert.equal(place.world.cloud.keyPairs.size, 0);
  });

  test('other content under the name stops each command with both fingerprints, and nothing changes', async () => {
    await place.keys(0, 'create', 'kept');
    const theirs = foreign('cws-kept-us-east-1');
    const ours = awsFingerprint(blobOfLine(publicFile('kept')) ?? Buffer.alloc(0));
    const before = snapshot(place.store);
    for (const words of [
      ['import', 'kept', '--aws'],
      ['delete', 'kept', '--aws', '--force'],
      ['rotate', 'kept', '--aws'],
    ]) {
      const { stderr } = await place.keys(1, ...words);
      assert.match(stderr, /another key as cws-kept-us-east-1 in us-east-1: .* \(key-exists\)/);
      for (const fingerprint of [theirs, ours]) assert.ok(stderr.includes(fingerprint), stderr);
      assert.match(stderr, /aws ec2 delete-key-pair --key-name cws-kept-us-east-1/);
      assert.deepEqual(snapshot(place.store), before, words.join(' '));
    }
    foreign('cws-new-us-east-1');
    assert.match((await place.keys(1, 'create', 'new', '--aws')).stderr, /\(key-exists\)/);
    assert.deepEqual(snapshot(place.store), before);
    assert.equal(inEc2('cws-kept-us-east-1')?.id, 'key-0');
  });

  test('where EC2 does not show the key, its fingerprint has to do', async () => {
    await place.keys(0, 'create', 'hidden', '--type', 'rsa-2048');
    const name = 'cws-hidden-us-east-1';
    const hide = (fingerprint: string) => {
      const pair = { id: 'key-1', name, region, publicKey: '', fingerprint, at: Date.now() };
      place.world.cloud.keyPairs.set(keyPairPlace(region, name), pair);
    };
    hide(awsFingerprint(blobOfLine(publicFile('hidden')) ?? Buffer.alloc(0)));
    assert.match((await place.keys(0, 'import', 'hidden', '--aws')).stderr, /EC2 had it already/);
    // Of a pair that EC2 has made, SHA-1 of the private half: never taken for ours.
    hide('1f:51:ae:28:bf:89:e9:d8:1f:25:5d:37:2d:7d:b8:ca:9f:f5:f1:6f');
    assert.match(
      (await place.keys(1, 'import', 'hidden', '--aws')).stderr,
      /1f:51:ae.* there, .* \(key-exists\)/,
    );
  });

  test('rotate replaces the key pair under its name without being asked, also in a run that continues', async () => {
    await place.keys(0, 'create', 'turn', '--aws');
    await place.keys(0, 'attach', 'turn', 'dev');
    const before = inEc2('cws-turn-us-east-1')?.publicKey;
    // AWS denies the import between the switch and the replacement.
    place.world.cloud.accessKeys.set(demoAccessKey.id, {
      secret: demoAccessKey.secret,
      denied: ['ec2:ImportKeyPair'],
    });
    const refused = await place.keys(1, 'rotate', 'turn');
    assert.match(refused.stderr, /ec2:ImportKeyPair/);
    assert.match(refused.stderr, /the old key is kept: EC2 still has the old public key in us-east-1/);
    assert.equal(inEc2('cws-turn-us-east-1'), undefined, 'the old key is no longer given out');
    place.world.cloud.accessKeys.set(demoAccessKey.id, { secret: demoAccessKey.secret });
    await place.keys(0, 'rotate', 'turn');
    assert.equal(inEc2('cws-turn-us-east-1')?.publicKey, publicFile('turn'));
    assert.notEqual(publicFile('turn'), before);
    // A second rotation is one more of the same.
    await place.keys(0, 'rotate', 'turn', '--aws');
    assert.equal(inEc2('cws-turn-us-east-1')?.publicKey, publicFile('turn'));
  });

  test('rotate keeps the old key until each of several names in one region has the new one', async () => {
    await place.keys(0, 'create', 'several', '--aws');
    await place.keys(0, 'attach', 'several', 'dev');
    // Prism writes the name of its last launch over the one before.
    const file = join(place.store, 'metadata.json');
    await place.keys(0, 'list');
    const text = readFileSync(file, 'utf8').replaceAll('cws-several-us-east-1', 'prism-several');
    writeFileSync(file, text);
    const pair = inEc2('cws-several-us-east-1');
    assert.ok(pair);
    place.world.cloud.keyPairs.set(keyPairPlace(region, 'prism-several'), { ...pair, name: 'prism-several' });
    place.world.cloud.faults.of('DeleteKeyPair').failNext('UnauthorizedOperation');
    const { stderr } = await place.keys(1, 'rotate', 'several');
    assert.match(stderr, /the old key is kept: EC2 still has the old public key in us-east-1/);
    await place.keys(0, 'rotate', 'several');
    for (const name of ['cws-several-us-east-1', 'prism-several'])
      assert.equal(inEc2(name)?.publicKey, publicFile('several'), name);
  });

  test('what EC2 does not take, or where no region is set, is said before anything is kept', async () => {
    const ecdsa = await place.keys(1, 'create', 'curve', '--type', 'ecdsa-p256', '--aws');
    assert.match(ecdsa.stderr, /EC2 does not accept ECDSA keys \(key-format\)/);
    const env = { AWS_REGION: undefined };
    const none = await place.world.run(mintProgram, ['keys', 'create', 'curve', '--aws'], { env });
    assert.equal(none.status, 2);
    assert.match(none.stderr, /no region is set for the EC2 key pair \(usage\)/);
    assert.match((await place.keys(1, 'public', 'curve')).stderr, /\(key-not-found\)/);
  });
});

describe('the fingerprint of EC2', () => {
  test('of an RSA key is what openssl makes of its DER form, of an Ed25519 key what ssh-keygen shows', (context) => {
    const directory = ownDirectory(context);
    const rsa = makeKey(directory, 'rsa', '-t', 'rsa', '-b', '2048', '-m', 'PEM');
    const openssl = ['rsa', '-in', join(directory, 'rsa'), '-pubout', '-outform', 'DER'];
    const der = execFileSync('openssl', openssl, { stdio: ['ignore', 'pipe', 'ignore'] });
    const md5 = execFileSync('openssl', ['md5', '-c'], { input: der, encoding: 'utf8' })
      .trim()
      .split(' ')
      .at(-1);
    assert.equal(awsFingerprint(blobOfLine(rsa) ?? Buffer.alloc(0)), md5);
    const ed25519 = makeKey(directory, 'ed', '-t', 'ed25519');
    const shown = execFileSync('ssh-keygen', ['-lf', join(directory, 'ed.pub')], { encoding: 'utf8' });
    const [, fingerprint = ''] = shown.split(' ');
    assert.equal(awsFingerprint(blobOfLine(ed25519) ?? Buffer.alloc(0)), fingerprint);
    assert.equal(plainFingerprint(`${fingerprint.slice('SHA256:'.length)}=`), fingerprint);
    assert.equal(plainFingerprint((md5 ?? '').toUpperCase()), md5);
  });
});
