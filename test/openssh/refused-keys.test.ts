/** What the user is told when sshd refuses the login, and the setting for a VM that accepts no Ed25519 keys. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { makeWorld, type World } from './world.ts';

describe('a VM whose sshd accepts RSA keys only', () => {
  let world: World;
  before(async () => {
    world = await makeWorld({
      vms: { dev: { sshdLines: ['PubkeyAcceptedAlgorithms rsa-sha2-256,rsa-sha2-512'] } },
    });
  });
  after(() => world.end());

  test('refuses the Ed25519 key, and the hint names the setting', async () => {
    const { status, stderr } = await world.ssh('dev', 'true');
    assert.equal(status, 255);
    assert.match(stderr, /refused the keys that ssh offered for user \w+ \(login-refused\)/);
    assert.match(stderr, /hint: .*key_type = "rsa-3072" in ssh\.toml/);
  });

  test('accepts logins with key_type = "rsa-3072", repeatedly and in parallel', async () => {
    await world.settings(['key_type = "rsa-3072"']);
    const logins = await Promise.all([1, 2, 3].map((each) => world.ssh('dev', `echo ${each}`)));
    assert.deepEqual(
      logins.map(({ status, stdout }) => [status, stdout]),
      [1, 2, 3].map((each) => [0, `${each}\n`]),
      logins.map(({ stderr }) => stderr).join(''),
    );
    const pushes = world.cloud.requests.filter(({ operation }) => operation === 'SendSSHPublicKey');
    assert.equal(pushes.length, 2, 'one push of each type');
    assert.equal((await world.ssh('dev', 'echo once more')).stdout, 'once more\n');
  });

  test('refuses again, with the hint, when the setting is removed', async () => {
    await world.settings([]);
    const { status, stderr } = await world.ssh('dev', 'true');
    assert.equal(status, 255);
    assert.match(stderr, /key_type = "rsa-3072"/);
  });
});

describe('a login in which ssh does not use the key of the agent', () => {
  let world: World;
  before(async () => {
    world = await makeWorld();
    await world.run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', `${world.directory}/own`]);
  });
  after(() => world.end());

  test('-o IdentityAgent=none: the message says that the agent was not asked', async () => {
    const { status, stderr } = await world.ssh('-o', 'IdentityAgent=none', 'dev', 'true');
    assert.equal(status, 255);
    assert.match(stderr, /ssh never asked the mint-ssh agent for its key \(login-refused\)/);
    assert.match(stderr, /hint: .*IdentityAgent/);
  });

  test('-i KEY -o IdentitiesOnly=yes: no message claims that the pushed key was refused', async () => {
    const options = ['-i', `${world.directory}/own`, '-o', 'IdentitiesOnly=yes'];
    const { status, stderr } = await world.ssh(...options, 'dev', 'true');
    assert.equal(status, 255);
    assert.match(stderr, /dev refused the keys that ssh offered for user \w+ \(login-refused\)/);
    assert.match(stderr, /hint: .*With -i and IdentitiesOnly=yes ssh does not offer the pushed key/);
  });
});
