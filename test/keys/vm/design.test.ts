/**
 * The block "Testing Strategy" of CloudWorkstation's key design (scttfrdmn/prism, docs/architecture/
 * ARCHITECTURE_SSH_KEYS.md), with `mint-ssh` for `cws` and `prism`. mint-ssh launches no instances: for its `launch` the stand-in
 * cloud has an instance with the key's KeyName, and the public key in its authorized_keys, as EC2 and cloud-init make it.
 */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { waitFor } from '../../openssh/world.ts';
import { makeKey } from '../key-lines.ts';
import { type KeyWorld, makeKeyWorld } from './key-world.ts';

interface Metadata {
  keys: Record<string, { aws_key_name: string; region: string; type: string; instances: string[] }>;
}

describe('the testing strategy of the design', { timeout: 180_000 }, () => {
  let place: KeyWorld;

  before(async () => {
    place = await makeKeyWorld(['test-key-creation', 'test-key-reuse', 'old']);
    await address(false);
  });

  after(() => place.end());

  const metadata = () => JSON.parse(readFileSync(join(place.store, 'metadata.json'), 'utf8')) as Metadata;
  const region = 'us-east-1';

  /** Without addresses, EC2 is asked, and says with which key an instance was launched. */
  async function address(isSet: boolean): Promise<void> {
    const path = join(place.world.configDir, 'ssh.toml');
    const text = readFileSync(path, 'utf8');
    if (!isSet) writeFileSync(path, text.replaceAll('host = "127.0.0.1"\n', ''), { mode: 0o600 });
    const words = ['ssh-config', '--yes', '--file', place.world.sshConfigFile];
    const { status, stderr } = await place.world.mint(...words);
    assert.equal(status, 0, stderr);
  }

  async function launch(vm: string, keyName: string, line: string): Promise<void> {
    const { instance } = place.world.vm(vm);
    const known = place.world.cloud.instances.get(instance);
    assert.ok(known);
    place.world.cloud.instances.set(instance, { ...known, keyName });
    place.letIn(line, vm);
    // An instance has its KeyName from the start; here it was listed before.
    await place.world.mint('vms', '--refresh');
  }

  test('key creation: the key exists, metadata.json is updated, and an SSH connection works', async () => {
    await place.keys(0, 'create', 'research', '--type', 'rsa-2048', '--region', region);
    assert.ok(existsSync(join(place.store, 'research')));
    const key = metadata().keys['research'];
    assert.deepEqual(
      [key?.aws_key_name, key?.region, key?.type],
      ['cws-research-us-east-1', region, 'rsa-2048'],
    );
    await launch(
      'test-key-creation',
      'cws-research-us-east-1',
      readFileSync(join(place.store, 'research.pub'), 'utf8'),
    );
    assert.ok(await place.letsIn('test-key-creation'));
  });

  test('key reuse: the same key for the same profile, and the instances array is updated', async () => {
    await launch(
      'test-key-reuse',
      'cws-research-us-east-1',
      readFileSync(join(place.store, 'research.pub'), 'utf8'),
    );
    assert.ok(await place.letsIn('test-key-reuse'));
    const both = ['test-key-creation', 'test-key-reuse'];
    await waitFor(
      'the note',
      15_000,
      () => String(metadata().keys['research']?.instances.sort()) === String(both),
    );
    assert.deepEqual(Object.keys(metadata().keys), ['research']);
  });

  test('key export: keys export research --output test.pem, and the exported key works', async () => {
    const output = join(place.world.directory, 'test.pem');
    await place.keys(0, 'export', 'research', '--output', output);
    assert.ok(await place.opens('test-key-creation', output));
    assert.ok(await place.opens('test-key-reuse', output));
  });

  test('key migration: keys migrate moves old keys, and old instances can still be reached', async () => {
    const from = join(place.world.home, '.ssh');
    mkdirSync(from, { mode: 0o700 });
    const line = makeKey(from, 'cws-legacy-us-east-1', '-t', 'rsa', '-b', '2048', '-m', 'PEM');
    await launch('old', 'cws-legacy-us-east-1', line);
    await place.keys(0, 'migrate');
    assert.deepEqual(readdirSync(from), [], 'old keys moved');
    assert.ok(await place.letsIn('old'));
    assert.ok(await place.opens('old', join(place.store, 'legacy')));
    const key = metadata().keys['legacy'];
    assert.deepEqual(
      [key?.aws_key_name, key?.region, key?.type, key?.instances],
      ['cws-legacy-us-east-1', region, 'rsa-2048', ['old']],
    );
  });
});
