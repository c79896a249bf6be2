/** Keys of VMs that are not what they were: replaced under the same name, or with a key that was rotated meanwhile. */
import assert from 'node:assert/strict';
import { chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { mintProgram, waitFor } from '../../openssh/world.ts';
import { type KeyWorld, makeKeyWorld } from './key-world.ts';

const askpass = join(import.meta.dirname, '../../cli/programs/askpass.sh');
const passphrase = 'correct horse battery';

describe('mint-ssh keys', { timeout: 240_000 }, () => {
  let place: KeyWorld;

  before(async () => {
    place = await makeKeyWorld(['dev', 'other', 'late']);
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
