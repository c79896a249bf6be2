/** One sshd with two accounts that accept the same managed key, in `~/.ssh/authorized_keys` of each. */
import assert from 'node:assert/strict';
import { chownSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { canMakeUsers } from '../../openssh/vm-users.ts';
import { makeWorld, mintProgram } from '../../openssh/world.ts';

const names = ['alice', 'bob'] as const;

test('mint-ssh keys rotate gives each account of a VM the new key, and removes the old one from each', {
  skip: canMakeUsers ? false : 'only root can make accounts for a VM',
  timeout: 240_000,
}, async (context) => {
  const world = await makeWorld({
    vms: {
      host: {
        users: names.map((name) => ({ name })),
        sshdLines: [
          'AuthorizedKeysFile .ssh/authorized_keys',
          'StrictModes yes',
          'AuthorizedKeysCommand none',
        ],
      },
    },
  });
  context.after(() => world.end());
  const { instance, port } = world.vm('host');
  const table = (name: string) =>
    `[vm.${name}]\nhost = "127.0.0.1"\nport = ${port}\ninstance = "${instance}"\nuser = "${name}"\naccess = "key:team"\n`;
  const keys = async (status: number, ...words: readonly string[]) => {
    const ended = await world.run(mintProgram, ['keys', ...words], { timeout: 120_000 });
    assert.equal(ended.status, status, ended.stderr);
    return ended;
  };
  await keys(0, 'create', 'team');
  const publicFile = join(world.configDir, 'keys', 'team.pub');
  const first = readFileSync(publicFile, 'utf8').trim();
  const authorized = (name: string) =>
    join(world.directory, 'vm-host', 'users', 'home', name, '.ssh', 'authorized_keys');
  const accept = (name: string, line: string) => {
    const file = authorized(name);
    const { uid, gid } = statSync(join(file, '../..'));
    mkdirSync(join(file, '..'), { mode: 0o700, recursive: true });
    writeFileSync(file, `${line}\n`, { mode: 0o600 });
    for (const path of [join(file, '..'), file]) chownSync(path, uid, gid);
  };
  for (const name of names) accept(name, first);
  await world.settings(names.map(table));
  const loginAs = async (name: string) => {
    const { status, stdout, stderr } = await world.ssh(name, 'id -un');
    assert.deepEqual([status, stdout], [0, `${name}\n`], stderr);
  };
  // Only one of them has been used.
  await loginAs('alice');
  const { stderr } = await keys(0, 'rotate', 'team');
  const second = readFileSync(publicFile, 'utf8').trim();
  assert.notEqual(second, first);
  for (const name of names) {
    assert.deepEqual(readFileSync(authorized(name), 'utf8'), `${second}\n`, stderr);
    const { uid, mode } = statSync(authorized(name));
    assert.deepEqual([uid, mode & 0o777], [statSync(join(authorized(name), '../..')).uid, 0o600]);
    await loginAs(name);
  }
  assert.match(stderr, /is removed from the store/);

  // An account that cannot be changed keeps the old key, and the other one does not.
  accept('bob', '# nothing');
  const refused = await keys(1, 'rotate', 'team');
  assert.match(refused.stderr, /^mint-ssh: not done: bob: /m);
  assert.doesNotMatch(refused.stderr, /not done: alice/);
  await loginAs('alice');
  accept('bob', second);
  await loginAs('bob');
  await keys(0, 'rotate', 'team');
  for (const name of names) await loginAs(name);
  const third = readFileSync(publicFile, 'utf8').trim();
  for (const name of names) assert.equal(readFileSync(authorized(name), 'utf8'), `${third}\n`, name);
});
