/** `mint-ssh keys attach`, `detach` and `dedicated` on a real sshd. */
import assert from 'node:assert/strict';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, beforeEach, describe, test } from 'node:test';
import { readDirectory } from '../store/keys-program.ts';
import { type KeyWorld, makeKeyWorld } from './key-world.ts';

describe('mint-ssh keys', { timeout: 300_000 }, () => {
  let place: KeyWorld;

  before(async () => {
    place = await makeKeyWorld(['dev', 'Dev.pub', 'picky'], [], {
      picky: { sshdLines: ['PubkeyAcceptedAlgorithms ssh-ed25519'] },
    });
  });

  after(() => place.end());

  beforeEach(() => {
    rmSync(place.store, { recursive: true, force: true });
    for (const vm of ['dev', 'Dev.pub', 'picky']) place.letIn('# mine', vm);
  });

  const publicFile = (name: string) => readFileSync(join(place.store, `${name}.pub`), 'utf8').trim();
  const instances = async (name: string) => {
    const { stdout } = await place.keys(0, 'show', name, '--json');
    return (JSON.parse(stdout) as { vms: { vm: string }[] }).vms.map(({ vm }) => vm);
  };

  test('attach authorizes the new key of "default" on the VM; detach removes it', async () => {
    const { stderr } = await place.keys(0, 'attach', 'default', 'DEV');
    assert.match(stderr, /made the key of "default"/);
    assert.match(stderr, /dev accepts the key of default$/m);
    assert.match(stderr, /hint: .* access = "key:default" under \[vm.dev\]/);
    assert.deepEqual(place.lines('dev'), ['# mine', publicFile('default')]);
    assert.ok(await place.opens('dev', join(place.store, 'default')));
    assert.deepEqual(await instances('default'), ['dev']);
    await place.keys(0, 'attach', 'default', 'dev');
    assert.deepEqual(place.lines('dev'), ['# mine', publicFile('default')]);

    await place.keys(0, 'detach', 'default', 'dev');
    assert.deepEqual([place.lines('dev'), await instances('default')], [['# mine'], []]);
    assert.equal(await place.opens('dev', join(place.store, 'default')), false);
    assert.match((await place.keys(1, 'detach', 'default', 'dev')).stderr, /\(key-not-found\)/);
  });

  test('a VM that refuses the key is not recorded as its instance; --force forgets a terminated one', async () => {
    await place.keys(0, 'create', 'lab');
    await place.keys(0, 'attach', 'lab', 'dev');
    const { sshd } = place.world.vm('dev');
    await sshd?.stop();
    try {
      await place.keys(0, 'create', 'other');
      assert.match((await place.keys(1, 'attach', 'other', 'dev')).stderr, /dial-failed/);
      assert.deepEqual(await instances('other'), []);
      assert.match((await place.keys(1, 'detach', 'lab', 'dev')).stderr, /dial-failed/);
      assert.deepEqual(await instances('lab'), ['dev']);
      const { stderr } = await place.keys(0, 'detach', 'lab', 'dev', '--force');
      assert.match(stderr, /the line in authorized_keys on dev, if it is there, stays/);
      assert.deepEqual(await instances('lab'), []);
    } finally {
      await sshd?.start();
    }
    const unknown = await place.keys(1, 'attach', 'lab', 'nowhere');
    assert.match(unknown.stderr, /\(vm-not-found\)/);
  });

  test('removes the line from a VM that does not accept the key, or reports that it could not', async () => {
    await place.keys(0, 'create', 'curve', '--type', 'ecdsa-p256');
    const refused = await place.keys(1, 'attach', 'curve', 'picky');
    assert.match(
      refused.stderr,
      /picky does not accept the key of curve: .*; its line was removed again \(login-refused\)/,
    );
    assert.deepEqual([place.lines('picky'), await instances('curve')], [['# mine'], []]);
    // The line was there before, so it is not ours to remove.
    place.letIn(publicFile('curve'), 'picky');
    const before = await place.keys(1, 'attach', 'curve', 'picky');
    assert.match(before.stderr, /its line was in authorized_keys before, and stays/);
    assert.deepEqual(place.lines('picky'), [publicFile('curve')]);
  });

  test('attach reports a key of another region than the VM', async () => {
    await place.keys(0, 'create', 'west', '--region', 'us-west-2');
    const { stderr } = await place.keys(0, 'attach', 'west', 'dev');
    assert.match(stderr, /note: west is a key of us-west-2, and dev is in us-east-1/);
  });

  test('every step is in audit.log, with the key and its fingerprint', async () => {
    const from = (place.world.file('audit.log') ?? '').split('\n').length - 1;
    const identity = join(place.world.directory, 'identity');
    const made = await place.world.run('age-keygen', ['-o', identity]);
    const recipient = /age1\w+/.exec(made.stderr)?.[0] ?? '';
    const at = (name: string) => join(place.world.directory, name);
    await place.keys(0, 'create', 'lab');
    await place.keys(0, 'export', 'lab', '--output', at('exported'));
    await place.keys(0, 'import', 'copy', '--key-file', at('exported'));
    await place.keys(0, 'share', 'lab', '--to', recipient, '--output', at('shared.age'));
    await place.keys(0, 'attach', 'lab', 'dev');
    await place.keys(0, 'rotate', 'lab');
    await place.keys(0, 'detach', 'lab', 'dev');
    await place.keys(0, 'dedicated', 'dev');
    await place.keys(0, 'delete', 'lab', '--force');
    const lines = (place.world.file('audit.log') ?? '').trimEnd().split('\n').slice(from);
    const noted = lines
      .map((line) => JSON.parse(line) as Record<string, string>)
      .filter(({ command }) => command?.startsWith('keys '))
      .map(({ event, command, vm_name: vm, key }) => [event, command, vm, key]);
    assert.deepEqual(noted, [
      ['key-created', 'keys create lab', null, 'lab'],
      ['key-exported', 'keys export lab', null, 'lab'],
      ['key-imported', 'keys import copy', null, 'copy'],
      ['key-shared', 'keys share lab', null, 'lab'],
      ['key-attached', 'keys attach lab dev', 'dev', 'lab'],
      ['key-rotated', 'keys rotate lab', null, 'lab'],
      ['key-detached', 'keys detach lab dev', 'dev', 'lab'],
      ['key-created', 'keys dedicated dev', null, 'dev.vm'],
      ['key-attached', 'keys dedicated dev', 'dev', 'dev.vm'],
      ['key-deleted', 'keys delete lab', null, 'lab'],
    ]);
    const attached = lines
      .map((line) => JSON.parse(line) as Record<string, string>)
      .find(({ event }) => event === 'key-attached');
    assert.match(attached?.['key_fingerprint'] ?? '', /^SHA256:/);
  });

  test('the key that is the only way in is not detached unless it is forced', async () => {
    await place.keys(0, 'attach', 'default', 'dev');
    await place.world.settings(['[vm.way]', 'host = "127.0.0.1"', 'access = "key:default"']);
    try {
      const { stderr } = await place.keys(1, 'detach', 'default', 'way');
      assert.match(stderr, /ssh.toml logs in to way with .*; nothing was changed \(key-exists\)/);
    } finally {
      await place.world.settings([]);
    }
  });

  test('a dedicated key has a name that no profile can have, for any name of the VM', async () => {
    await place.keys(0, 'create', 'dev');
    assert.match((await place.keys(0, 'dedicated', 'dev')).stderr, /made dev\.vm, a key for dev alone/);
    await place.keys(0, 'dedicated', 'Dev.pub', '--type', 'rsa-2048');
    assert.deepEqual(
      readDirectory(place.store).filter((file) => !file.startsWith('.')),
      ['dev', 'dev.pub', 'dev.pub.vm', 'dev.pub.vm.pub', 'dev.vm', 'dev.vm.pub', 'metadata.json'],
    );
    assert.deepEqual(place.lines('dev'), ['# mine', publicFile('dev.vm')]);
    assert.deepEqual(place.lines('Dev.pub'), ['# mine', publicFile('dev.pub.vm')]);
    assert.ok(await place.opens('Dev.pub', join(place.store, 'dev.pub.vm')));
    assert.deepEqual(await instances('dev.vm'), ['dev']);
    const line = publicFile('dev.vm');
    await place.keys(0, 'dedicated', 'dev');
    assert.equal(publicFile('dev.vm'), line);
    assert.match((await place.keys(2, 'create', 'dev.vm')).stderr, /\(key-name\)/);
    assert.match((await place.keys(0, 'doctor')).stderr, /no problems found/);

    await place.keys(0, 'rotate', 'dev.vm');
    assert.notEqual(publicFile('dev.vm'), line);
    assert.deepEqual(place.lines('dev'), ['# mine', publicFile('dev.vm')]);
    await place.keys(0, 'delete', 'dev.vm', '--force');
    assert.equal((await place.keys(0, 'public', 'dev')).status, 0);
  });
});
