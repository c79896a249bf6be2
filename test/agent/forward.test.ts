import assert from 'node:assert/strict';
import {
  appendFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { loginUser, type Sshd, startSshd } from '../openssh/sshd.ts';
import { startUsersAgent, type UsersAgent } from '../openssh/users-agent.ts';
import { type Child, makeWorld, mintProgram, type World, waitFor } from '../openssh/world.ts';
import { keyClient, keyPath } from './clients.ts';

const forwardPath = (world: World) => join(world.configDir, 'run/forward/dev.sock');
/** The output of `ssh-add -l` for an agent without keys. */
const empty = [1, 'The agent has no identities.\n'];

describe('ssh -A', { timeout: 300_000 }, () => {
  let world: World;
  let agent: UsersAgent;
  before(async () => {
    world = await makeWorld({ vms: { dev: {}, other: {} } });
    agent = await startUsersAgent(world);
  });
  after(async () => {
    await agent.stop();
    await world.end();
  });

  const session = (args: readonly string[], env: Record<string, string | undefined> = {}) =>
    world.startSsh(args, { env: { SSH_AUTH_SOCK: agent.socket, ...env } });
  /** A session that stays open until it is ended. */
  const stay = async (args: readonly string[], path = agent.socket) => {
    const script = 'echo in; while read -r line; do ssh-add -l; done';
    const child = world.startSsh([...args, script], { env: { SSH_AUTH_SOCK: path }, holdInput: true });
    await child.until(/in\n/);
    return child;
  };
  const leave = async (child: Child) => {
    child.stdin.end();
    return await child.done;
  };
  const list = async (args: readonly string[], env: Record<string, string | undefined> = {}) => {
    const { status, stdout, stderr } = await session([...args, 'ssh-add -l'], env).done;
    assert.doesNotMatch(stderr, /mint-ssh|forward|socket/i);
    return [status, stdout];
  };
  const usersKey = async () => {
    const { stdout } = await world.run('ssh-add', ['-l'], { env: { SSH_AUTH_SOCK: agent.socket } });
    assert.match(stdout, /users-key/);
    return [0, stdout];
  };
  const hop = ['-F', '/dev/null', '-o', 'StrictHostKeyChecking=no', '-o', 'UserKnownHostsFile=/dev/null'];
  const quietHop = ['ssh', ...hop, '-o', 'LogLevel=ERROR'].join(' ');

  test('the first login on a fresh machine prints nothing, with -A and without', async () => {
    const plain = await world.ssh('other', 'true');
    assert.deepEqual([plain.status, plain.stderr], [0, '']);
    await world.mint('agent', 'stop');
    const fresh = await session(['-A', 'dev', 'true']).done;
    assert.deepEqual([fresh.status, fresh.stderr], [0, '']);
  });

  test('shows the user’s key on the VM, and no key of ours', async () => {
    assert.deepEqual(await list(['-A', 'dev']), await usersKey());
  });

  test('a block that says ForwardAgent yes does the same', async () => {
    assert.deepEqual(await list(['-o', 'ForwardAgent=yes', 'dev']), await usersKey());
  });

  test('without -A nothing is forwarded', async () => {
    const { stdout, stderr } = await session(['dev', 'printenv SSH_AUTH_SOCK || echo nothing']).done;
    assert.deepEqual([stdout, stderr], ['nothing\n', '']);
  });

  describe('a second hop', () => {
    let inner: Sshd;
    before(async () => {
      const keys = join(world.directory, 'inner-keys');
      mkdirSync(keys);
      writeFileSync(join(keys, loginUser), `${agent.line}\n`);
      inner = await startSshd({ directory: join(world.directory, 'inner'), authorizedKeys: keys });
    });
    after(() => inner.stop({ sessions: true }));

    test('logs in with the user’s key', async () => {
      const { stdout, stderr } = await session([
        '-A',
        'dev',
        `${quietHop} -p ${inner.port} 127.0.0.1 echo in`,
      ]).done;
      assert.deepEqual([stdout, stderr], ['in\n', '']);
      assert.match(inner.log(), /Accepted publickey .* ED25519 SHA256:/);
    });

    test('git fetches and pushes', async () => {
      const [far, near] = [join(world.directory, 'far.git'), join(world.directory, 'near')];
      const url = `ssh://127.0.0.1:${inner.port}${far}`;
      const script = [
        'set -e',
        `export GIT_SSH_COMMAND="${quietHop}" GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null`,
        `git init -q --bare ${far}`,
        `git clone -q ${url} ${near} 2>/dev/null`,
        `cd ${near}; echo text > file; git add file`,
        'git -c user.name=A -c user.email=a@example.com commit -q -m "A file"',
        'git push -q origin HEAD:main',
        `git ls-remote ${url} main | cut -f 2`,
      ].join('\n');
      const { status, stdout, stderr } = await session(['-A', 'dev', script]).done;
      assert.deepEqual([status, stdout, stderr], [0, 'refs/heads/main\n', '']);
    });
  });

  test('the user’s agent dead, missing or unset: the login works, and the VM sees no key', async () => {
    const second = await startUsersAgent(world, 'dead');
    process.kill(second.pid, 'SIGKILL');
    await waitFor('its end', 15_000, () => !existsSync(`/proc/${second.pid}/exe`));
    assert.ok(existsSync(second.socket));
    for (const path of [
      second.socket,
      join(world.directory, 'nowhere'),
      '/etc/passwd',
      'relative',
      '',
      undefined,
    ])
      assert.deepEqual(await list(['-A', 'dev'], { SSH_AUTH_SOCK: path }), empty, String(path));
  });

  test('the VM cannot reach our sockets by path, link or another name', async () => {
    assert.equal((await world.ssh('dev', 'true')).status, 0);
    const [link, directory] = [join(world.directory, 'link'), join(world.directory, 'run-link')];
    symlinkSync(keyPath(world, 'dev'), link);
    symlinkSync(join(world.configDir, 'run'), directory);
    const own = [keyPath(world, 'dev'), forwardPath(world), link, join(directory, 'agent/dev.sock')];
    for (const path of own) {
      assert.deepEqual(await list(['-A', 'dev'], { SSH_AUTH_SOCK: path }), empty, path);
    }
  });

  test('the VM’s socket does not reach the user’s agent', async () => {
    const keep = await stay(['-A', 'dev']);
    const client = await keyClient(keyPath(world, 'dev'));
    const [key, ...more] = await client.list();
    assert.ok(key);
    assert.equal(more.length, 0);
    assert.ok(!agent.line.includes(key.toString('base64')));
    client.close();
    const forwarded = await keyClient(forwardPath(world));
    const keys = await forwarded.list();
    assert.equal(keys.length, 1);
    assert.ok(agent.line.includes(keys[0]?.toString('base64') ?? '?'));
    assert.equal(await forwarded.sign(key, Buffer.from('anything')), 5);
    forwarded.close();
    await leave(keep);
  });

  test('finds the user’s agent although ssh passes its IdentityAgent to the proxy (10.5 and later)', async () => {
    const proxy = `env SSH_AUTH_SOCK=${keyPath(world, 'dev')} ${mintProgram} proxy dev %p %r`;
    assert.deepEqual(await list(['-A', '-o', `ProxyCommand=${proxy}`, 'dev']), await usersKey());
  });

  test('the session-bind of every hop reaches the user’s agent', async () => {
    const path = join(world.directory, 'noisy');
    const noisy = world.start('ssh-agent', ['-d', '-a', path], { timeout: 60_000 });
    await waitFor('ssh-agent', 15_000, () => existsSync(path));
    assert.deepEqual(await list(['-A', 'dev'], { SSH_AUTH_SOCK: path }), empty);
    // ssh itself announces to whom it forwards the agent.
    await noisy.until(/process_ext_session_bind: recorded ED25519 SHA256:\S{43}/);
    noisy.kill();
    await noisy.done;
  });

  test('our agent killed: a login prints no error, and a live session forwards again', async () => {
    const live = await stay(['-A', 'dev']);
    const [running] = world.agents();
    assert.ok(running);
    process.kill(running.pid, 'SIGKILL');
    const before = lstatSync(forwardPath(world)).ino;
    await waitFor('the next agent', 15_000, () => lstatSync(forwardPath(world)).ino !== before);
    // The socket is there a moment before the proxy has said where the user's agent is.
    const ask = setInterval(() => live.stdin.write('\n'), 100);
    await live.until(/users-key/).finally(() => clearInterval(ask));
    assert.equal((await leave(live)).stderr, '');
  });

  test('a dead socket of a killed agent causes no error at the next login', async () => {
    const live = await stay(['dev']);
    for (const { pid } of [...world.agents(), { pid: live.pid }]) process.kill(pid, 'SIGKILL');
    await waitFor('its end', 15_000, () => world.agents().length === 0);
    assert.ok(lstatSync(forwardPath(world)).isSocket());
    const { status, stderr } = await session(['dev', 'true']).done;
    assert.deepEqual([status, stderr], [0, '']);
    for (const { pid } of world.agents()) process.kill(pid, 'SIGKILL');
    await waitFor('its end', 15_000, () => world.agents().length === 0);
    assert.deepEqual(await list(['-A', 'dev']), await usersKey());
  });

  test('an agent that ends leaves a private empty file, and the next one takes its place', async () => {
    assert.equal((await world.ssh('dev', 'true')).status, 0);
    await world.mint('agent', 'stop');
    const left = lstatSync(forwardPath(world));
    assert.ok(left.isFile());
    assert.deepEqual([left.size, left.mode & 0o777], [0, 0o600]);
    assert.deepEqual(await list(['-A', 'dev']), await usersKey());
    const live = await stay(['dev']);
    assert.ok(lstatSync(forwardPath(world)).isSocket());
    await leave(live);
  });

  test('restores a removed file', async () => {
    assert.equal((await world.ssh('other', 'true')).status, 0);
    rmSync(forwardPath(world));
    await waitFor('the file', 15_000, () => existsSync(forwardPath(world)));
    assert.deepEqual(await list(['-A', 'dev']), await usersKey());
  });

  describe('an agent in the settings', () => {
    let other: UsersAgent;
    before(async () => {
      other = await startUsersAgent(world, 'chosen');
    });
    after(async () => {
      await other.stop();
      await world.settings([]);
    });

    test('upstream_agent takes effect without running ssh-config again', async () => {
      const toml = join(world.configDir, 'ssh.toml');
      writeFileSync(toml, `upstream_agent = "${other.socket}"\n${readFileSync(toml, 'utf8')}`);
      assert.match(String(await list(['-A', 'dev'])), /chosen-key/);
      assert.match(String(await list(['-A', 'dev'], { SSH_AUTH_SOCK: undefined })), /chosen-key/);
    });

    test('a missing one, or one of ours, is not replaced by another', async () => {
      for (const path of [join(world.directory, 'nowhere'), keyPath(world, 'dev')]) {
        await world.settings([`upstream_agent = "${path}"`]);
        assert.deepEqual(await list(['-A', 'dev']), empty, path);
      }
    });

    test('one VM may have its own, and the others do not see it', async () => {
      await world.settings([]);
      const toml = join(world.configDir, 'ssh.toml');
      const text = readFileSync(toml, 'utf8');
      writeFileSync(toml, text.replace('[vm."other"]', `[vm."other"]\nupstream_agent = "${other.socket}"`));
      const { status, stderr } = await world.mint('ssh-config', '--yes', '--file', world.sshConfigFile);
      assert.equal(status, 0, stderr);
      await world.mint('agent', 'stop');
      assert.equal(statSync(join(world.configDir, 'run/forward/other.sock')).size, 0);
      const first = await session(['-A', 'other', 'ssh-add -l']).done;
      assert.match(first.stdout, /chosen-key/);
      assert.equal(first.stderr, '');
      assert.deepEqual(await list(['-A', 'dev']), await usersKey());
      const plain = await session(['other', 'printenv SSH_AUTH_SOCK || echo nothing']).done;
      assert.deepEqual([plain.stdout, plain.stderr], ['nothing\n', '']);
    });

    test('the IdentityAgent of the user’s own Host * is forwarded', async () => {
      appendFileSync(world.sshConfigFile, `\nHost *\n  IdentityAgent ${other.socket}\n`);
      await world.settings([]);
      assert.match(world.file('ssh_config') ?? '', /--upstream-agent ".*agent-chosen\/sock" dev %p %r/);
      assert.match(String(await list(['-A', 'dev'])), /chosen-key/);
      assert.match(String(await list(['-A', 'dev'], { SSH_AUTH_SOCK: undefined })), /chosen-key/);
    });

    test('IdentityAgent none means that none is forwarded', async () => {
      const text = readFileSync(world.sshConfigFile, 'utf8');
      writeFileSync(world.sshConfigFile, text.replace(/IdentityAgent .*/, 'IdentityAgent none'));
      await world.settings([]);
      assert.deepEqual(await list(['-A', 'dev']), empty);
      writeFileSync(world.sshConfigFile, text.replace(/\nHost \*\n.*\n/, ''));
      await world.settings([]);
      assert.deepEqual(await list(['-A', 'dev']), await usersKey());
    });
  });
});
