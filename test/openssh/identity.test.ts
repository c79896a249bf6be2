/** `identity`: the user's own key is pushed, and their own agent or file signs. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { startUsersAgent, type UsersAgent } from './users-agent.ts';
import { loginUser, makeWorld, mintProgram, type World } from './world.ts';

describe('identity', () => {
  let world: World;
  let agent: UsersAgent;
  let held: string;
  let file: string;

  const withoutComment = (line: string) => line.split(' ').slice(0, 2).join(' ');
  const vm = (name: string, identity: string, more = '') =>
    `[vm.${name}]\nhost = "127.0.0.1"\nport = ${world.vm('plain').port}\nuser = "${loginUser}"\ninstance = "${world.vm('plain').instance}"\nidentity = "${identity}"\n${more}`;

  before(async () => {
    world = await makeWorld({ vms: { plain: {} } });
    agent = await startUsersAgent(world);
    held = join(world.home, 'held.pub');
    writeFileSync(held, `${agent.line}\n`);
    file = join(world.home, 'id_rsa');
    const made = await world.run('ssh-keygen', ['-q', '-t', 'rsa', '-b', '2048', '-N', '', '-f', file]);
    assert.equal(made.status, 0, made.stderr);
    const other = await world.run('ssh-keygen', [
      '-q',
      '-t',
      'ecdsa',
      '-N',
      '',
      '-f',
      join(world.home, 'ec'),
    ]);
    assert.equal(other.status, 0, other.stderr);
    const gone = await world.run('ssh-keygen', [
      '-q',
      '-t',
      'ed25519',
      '-N',
      '',
      '-f',
      join(world.home, 'gone'),
    ]);
    assert.equal(gone.status, 0, gone.stderr);
    writeFileSync(join(world.home, 'elsewhere.pub'), await public_('gone'));
    await world.settings([
      vm('held', '~/held.pub'),
      vm('file', file.concat('.pub')),
      vm('unheld', '~/elsewhere.pub'),
      vm('private', '~/id_rsa'),
      vm('ecdsa', '~/ec.pub'),
      vm('missing', '~/missing.pub'),
    ]);
  });
  after(async () => {
    await agent?.stop();
    await world.end();
  });

  const public_ = async (name: string) => (await world.run('cat', [join(world.home, `${name}.pub`)])).stdout;

  test('pushes that key without its comment, and the user’s own agent signs', async () => {
    const env = { SSH_AUTH_SOCK: agent.socket };
    const { status, stdout, stderr } = await world.startSsh(['held', 'echo hello'], { env }).done;
    assert.deepEqual([status, stdout, stderr], [0, 'hello\n', '']);
    assert.deepEqual(
      world.cloud.pushes.map(({ key }) => key),
      [withoutComment(agent.line)],
    );
    const { stdout: trusted } = await world.mint('hosts', 'show', 'held');
    assert.match(trusted, /SHA256:/);
  });

  test('accepts a file of the user, RSA too, also in `mint-ssh ssh`', async () => {
    const { status, stdout, stderr } = await world.run(mintProgram, ['ssh', 'file', '--', 'echo hello']);
    assert.deepEqual([status, stdout], [0, 'hello\n'], stderr);
    const line = withoutComment(await public_('id_rsa'));
    assert.ok(world.cloud.pushes.some(({ key }) => key === line));
    const doctor = await world.mint('doctor', 'file');
    assert.match(doctor.stdout, /^ok +login /m);
  });

  test('does not affect other VMs: they have one key, ours', async () => {
    const { status, stderr } = await world.ssh('plain', 'true');
    assert.equal(status, 0, stderr);
    const shown = async (name: string) =>
      (await world.run('ssh', ['-F', world.sshConfigFile, '-G', name])).stdout;
    const [plain, held_] = [await shown('plain'), await shown('held')];
    assert.match(plain, /^identityfile none$/m);
    assert.match(plain, /^identitiesonly no$/m);
    assert.match(held_, /^identityfile \S*held\.pub$/m);
    assert.doesNotMatch(held_, /^identityfile none$/m);
    assert.match(held_, /^identitiesonly yes$/m);
    assert.doesNotMatch(held_, /^identityagent /m);
  });

  test('names the key that the client did not have', async () => {
    const { status, stderr } = await world.startSsh(['unheld', 'true'], {
      env: { SSH_AUTH_SOCK: agent.socket },
    }).done;
    assert.equal(status, 255);
    assert.match(stderr, /did not accept the key in ".*elsewhere\.pub" for user .* \(login-refused\)/);
    assert.match(stderr, /ssh-add -L/);
  });

  test('refuses keys that Instance Connect does not accept, and a private key, before a push', async () => {
    const before = world.cloud.pushes.length;
    for (const [name, form] of [
      ['private', /which is a private key \(key-private\)/],
      ['ecdsa', /a key of type "ecdsa-sha2-nistp256".* \(key-invalid\)/],
      ['missing', /which does not exist \(bad-settings\)/],
    ] as const) {
      const { stderr } = await world.ssh(name, 'true');
      assert.match(stderr, form);
    }
    assert.equal(world.cloud.pushes.length, before);
  });
});
