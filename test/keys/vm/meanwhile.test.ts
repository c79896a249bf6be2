/** Keys and VMs that change while a command or a login is under way. */
import assert from 'node:assert/strict';
import { chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import {
  controlClient,
  controlPath,
  Host,
  keyClient,
  keyPath,
  newSession,
  openRequest,
  seenRequest,
} from '../../agent/clients.ts';
import { keyPairPlace } from '../../cloud/ec2-key-pairs.ts';
import { loginUser, mintProgram, waitFor } from '../../openssh/world.ts';
import { type KeyWorld, makeKeyWorld } from './key-world.ts';

const askpass = join(import.meta.dirname, '../../cli/programs/askpass.sh');
const passphrase = 'correct horse battery';

describe('mint-ssh keys', { timeout: 240_000 }, () => {
  let place: KeyWorld;

  before(async () => {
    place = await makeKeyWorld(['dev', 'other', 'late', 'team'], [], {
      team: { settings: ['access = "key:team"'] },
    });
  });

  after(() => place.end());

  test('rotate keeps the old key for an instance that another one has replaced under its name', async () => {
    const { world } = place;
    await place.keys(0, 'create', 'lab');
    for (const vm of ['dev', 'other']) await place.keys(0, 'attach', 'lab', vm);
    const { instance } = world.vm('dev');
    const known = world.cloud.instances.get(instance);
    assert.ok(known);
    // The next one was made from an image of it. EC2 forgets a terminated instance after an hour.
    const replacement = 'i-0123456789abcdef0';
    world.cloud.instances.set(replacement, { ...known, id: replacement });
    world.cloud.instances.delete(instance);
    const file = join(world.configDir, 'ssh.toml');
    writeFileSync(file, readFileSync(file, 'utf8').replace(instance, replacement));

    const { stderr } = await place.keys(1, 'rotate', 'lab');
    assert.match(stderr, new RegExp(`not done: dev: .*there is no instance ${instance}`));
    assert.match(stderr, /accepts it and refuses SHA256:\S+: other$/m);
    assert.match(stderr, /the old key is kept: dev accepts only/);
    // Only the user knows that it is gone.
    await place.keys(0, 'rotate', 'lab', '--force');
    await world.settings([]);
    world.cloud.instances.set(instance, known);
  });

  const blobOf = (name: string) =>
    /ssh-ed25519 (\S+)/.exec(readFileSync(join(place.store, `${name}.pub`), 'utf8'))?.[1] ?? '';

  test('a login that waits while its key is rotated is offered the new one', async () => {
    const { world } = place;
    await place.keys(0, 'create', 'team');
    place.letIn(readFileSync(join(place.store, 'team.pub'), 'utf8'), 'team');
    const { port } = world.vm('team');
    await world.settings([
      `[vm.waiting]\nhost = "127.0.0.1"\nport = ${port}\nuser = "${loginUser}"\naccess = "key:team"`,
    ]);
    // As where the VM has to be started: the proxy asks for the key when the key exchange is over.
    const [host, session] = [new Host(), newSession()];
    assert.ok(await place.letsIn('team'));
    const control = await controlClient(controlPath(world));
    control.send(openRequest(world, 'waiting'));
    await control.reply('target');
    control.send(seenRequest(host.blob, host.sign(session)));
    await control.reply('host-key-checked');
    const before = blobOf('team');
    await world.run(mintProgram, ['keys', 'rotate', 'team'], { timeout: 120_000 });
    const after = blobOf('team');
    assert.notEqual(after, before);
    control.send({ type: 'await-push' });
    await control.reply('pushed');
    const client = await keyClient(keyPath(world, 'waiting'));
    const listed = (await client.list()).map((blob) => blob.toString('base64'));
    client.close();
    await control.close();
    assert.ok(listed.includes(after), listed.join(' '));
    await world.settings([]);
  });

  test('two rotations of a key at once leave one key, which every VM accepts', async () => {
    await place.keys(0, 'create', 'twice');
    for (const vm of ['dev', 'other']) await place.keys(0, 'attach', 'twice', vm);
    const before = blobOf('twice');
    await Promise.all([place.keys(0, 'rotate', 'twice'), place.keys(0, 'rotate', 'twice')]);
    assert.notEqual(blobOf('twice'), before);
    for (const vm of ['dev', 'other']) {
      const ours = place.lines(vm).filter((line) => line.endsWith(' twice'));
      assert.deepEqual(
        ours.map((line) => line.split(' ')[1]),
        [blobOf('twice')],
        vm,
      );
      assert.ok(await place.opens(vm, join(place.store, 'twice')), vm);
    }
  });

  test('rotate keeps the old key for an instance that was launched while it ran', async () => {
    const { world } = place;
    await place.keys(0, 'create', 'early', '--aws');
    await place.keys(0, 'attach', 'early', 'dev');
    const known = world.cloud.instances.get(world.vm('dev').instance);
    assert.ok(known);
    const imports = world.cloud.faults.of('ImportKeyPair');
    imports.hold();
    const child = world.start(mintProgram, ['keys', 'rotate', 'early'], { timeout: 120_000 });
    await waitFor('the import', 90_000, () => imports.waiting > 0);
    const launched = 'i-0fedcba987654321f';
    world.cloud.instances.set(launched, { ...known, id: launched, keyName: 'cws-early-us-east-1' });
    imports.clear();
    const { status, stderr } = await child.done;
    world.cloud.instances.delete(launched);
    assert.equal(status, 1, stderr);
    assert.match(stderr, /the old key is kept: \S+ accepts only the old key/);
    await place.keys(0, 'rotate', 'early', '--force');
  });

  test('rotate that is killed between the two calls to EC2 is continued with the same new key', async () => {
    const { world } = place;
    await place.keys(0, 'create', 'cut', '--aws');
    await place.keys(0, 'attach', 'cut', 'dev');
    const imports = world.cloud.faults.of('ImportKeyPair');
    imports.hang();
    const child = world.start(mintProgram, ['keys', 'rotate', 'cut', '--aws']);
    await waitFor('the import', 90_000, () => imports.waiting > 0);
    child.kill('SIGKILL');
    assert.equal((await child.done).signal, 'SIGKILL');
    imports.clear();
    const pair = () => world.cloud.keyPairs.get(keyPairPlace('us-east-1', 'cws-cut-us-east-1'));
    assert.equal(pair(), undefined, 'no launch gets the old key');
    const switched = blobOf('cut');
    await place.keys(0, 'rotate', 'cut');
    assert.equal(blobOf('cut'), switched);
    assert.equal(pair()?.publicKey.split(' ')[1], switched);
    assert.ok(await place.opens('dev', join(place.store, 'cut')));
  });

  test('attach gives a VM no key that was rotated while it asked for the passphrase', async () => {
    const { world } = place;
    const file = join(world.directory, 'locked');
    await world.run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', passphrase, '-f', file]);
    const env = { SSH_ASKPASS: askpass, SSH_ASKPASS_REQUIRE: 'force', ASKPASS: passphrase };
    const logged = { ...env, ASKPASS_LOG: join(world.directory, 'askpass.log') };
    const run = (...words: readonly string[]) =>
      world.run(mintProgram, ['keys', ...words], { env: logged, timeout: 120_000 });
    const imported = await run('import', 'locked', '--key-file', file);
    assert.equal(imported.status, 0, imported.stderr);

    const [asked, answer] = ['asked', 'answer'].map((name) => join(world.directory, name)) as [
      string,
      string,
    ];
    const slow = join(world.directory, 'slow-askpass');
    writeFileSync(
      slow,
      `#!/bin/sh\n: >'${asked}'\nuntil [ -e '${answer}' ]; do sleep 0.1; done\necho '${passphrase}'\n`,
    );
    chmodSync(slow, 0o755);
    const attaching = world.run(mintProgram, ['keys', 'attach', 'locked', 'late'], {
      env: { ...env, SSH_ASKPASS: slow },
      timeout: 120_000,
    });
    await waitFor('the question', 60_000, () => existsSync(asked));
    const rotated = await run('rotate', 'locked', '--force');
    assert.equal(rotated.status, 0, rotated.stderr);
    writeFileSync(answer, '');
    const attached = await attaching;
    assert.equal(attached.status, 1, attached.stderr);
    assert.match(attached.stderr, /\(key-store\)\nmint-ssh: hint: .*run this again/);
    assert.deepEqual(place.lines('late'), []);
  });
});
